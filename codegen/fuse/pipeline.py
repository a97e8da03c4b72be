"""The fusions, in order. They turn what a model means into what its kernels compute. No pass before them depends on
kernels, and no code after them looks for patterns."""

from __future__ import annotations

from collections.abc import Mapping

from intaglio.codegen.fuse.absorb_writes import absorb_writes
from intaglio.codegen.fuse.fuse_elementwise import fuse_elementwise
from intaglio.codegen.fuse.fuse_gate import fuse_gate
from intaglio.codegen.fuse.fuse_prologue import fuse_prologue
from intaglio.codegen.fuse.fuse_rotary import fuse_rotary
from intaglio.codegen.fuse.merge_rotary import merge_rotary
from intaglio.codegen.fuse.spell_roundings import spell_roundings
from intaglio.compiler.ir.graph import Graph
from intaglio.compiler.passes import pipeline
from intaglio.compiler.passes.pipeline import Pass, Trace

FUSE: tuple[Pass, ...] = (
    spell_roundings,
    absorb_writes,
    merge_rotary,
    fuse_prologue,
    fuse_rotary,
    fuse_elementwise,
    fuse_gate,
)


def fuse(graphs: Mapping[str, Graph], trace: Trace) -> None:
    """Fuse every graph in place. Fusing a fused graph does not change it."""
    for graph in graphs.values():
        pipeline.run(graph, FUSE, trace)
