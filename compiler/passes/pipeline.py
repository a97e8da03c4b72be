"""The passes in order: the table of contents of the compiler. Each pass is followed by a check and a trace entry.

The passes recover what a model means. The fusions make it run fast (see codegen/fuse/pipeline.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from intaglio.compiler.ir.graph import Graph
from intaglio.compiler.passes.canonical import canonical
from intaglio.compiler.passes.expand import expand
from intaglio.compiler.passes.float_rounding import float_rounding
from intaglio.compiler.passes.float_scale import float_scale
from intaglio.compiler.passes.fold import fold
from intaglio.compiler.passes.fuse_activation import fuse_activation
from intaglio.compiler.passes.fuse_attention import fuse_attention
from intaglio.compiler.passes.fuse_norm import fuse_norm
from intaglio.compiler.passes.fuse_quantized import fuse_quantized
from intaglio.compiler.passes.fuse_rope import fuse_rope
from intaglio.compiler.passes.linear import linear
from intaglio.compiler.passes.split_heads import split_heads
from intaglio.compiler.passes.widen import widen

Pass = Callable[[Graph], int]

# Recover what the exporter meant: fold shapes, expand combined operators, and fuse decomposed operators.
UNDERSTAND: tuple[Pass, ...] = (
    widen,
    fuse_quantized,
    fold,
    expand,
    canonical,
    fuse_norm,
    fuse_activation,
    float_scale,
    float_rounding,
    linear,
    split_heads,
    fuse_rope,
    float_rounding,
    fuse_attention,
    float_rounding,
    canonical,
    linear,
    canonical,
)


@dataclass
class Trace:
    """The record of the passes: one row each and, with `folder`, the graph after each pass as a text file.

    models: the result of `outline` for each model as it was loaded, because passes change graphs in place.
    progress: called with the name of a stage, the amount done and the total amount (0 if unknown).
    """

    folder: Path | None = None
    say: Callable[[str], None] = lambda line: None
    outline: Callable[[Graph], Any] | None = None
    progress: Callable[[str, int, int], None] = lambda stage, done, total: None
    rows: list[dict[str, str | int]] = field(default_factory=list)
    models: dict[str, Any] = field(default_factory=dict)
    _expected: tuple[int, int] = (0, 0)  # the passes before the current stage, and in it

    def stage(self, name: str, passes: int = 0) -> None:
        """Begin a stage of the work that runs `passes` passes."""
        self.say(name)
        self._expected = len(self.rows), passes
        self.progress(name, 0, passes)

    def begin(self, graph: Graph) -> None:
        """Keep the outline of the model of `graph`, once for each model."""
        if self.outline is not None and graph.model not in self.models:
            self.models[graph.model] = self.outline(graph)

    def record(self, graph: Graph, name: str, changes: int) -> None:
        """Add a row for the pass `name`, report progress, and write the graph to `folder`."""
        self.rows.append({"graph": graph.name, "pass": name, "changes": changes, "nodes": len(graph.nodes)})
        self.say(f"{graph.name}: {name}: {changes} changes, {len(graph.nodes)} nodes")
        before, expected = self._expected
        if len(self.rows) - before <= expected:
            self.progress("passes", len(self.rows) - before, expected)
        if self.folder is not None:
            count = sum(row["graph"] == graph.name for row in self.rows)
            (self.folder / f"{graph.name}-{count:02d}-{name}.txt").write_text(str(graph))


def run(graph: Graph, passes: Sequence[Pass], trace: Trace) -> Graph:
    """Apply `passes` in order and verify the graph after each; return the graph."""
    trace.begin(graph)
    for step in passes:
        changes = step(graph)
        graph.verify()
        trace.record(graph, getattr(step, "func", step).__name__, changes)
    return graph
