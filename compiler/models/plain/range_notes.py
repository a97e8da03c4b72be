"""Notes for the user about the sizes that a plain model takes: defaults, and ranges that are narrower than asked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from onnx import ModelProto

from intaglio.compiler.ir.dims import Expr
from intaglio.compiler.ir.graph import Graph
from intaglio.compiler.models.plain import binding
from intaglio.compiler.reader.free_sizes import binding_of, described

_NAMED = 6
_MORE = 2  # the example of another range ends at this multiple


def notes(model: ModelProto, graph: Graph, bind: Mapping[str, Any]) -> list[str]:
    """Return a line for the free sizes that are not in `bind`, and one for each that is narrower there.

    graph: the model as it was read. bind: sizes by label.
    """
    sizes = _sizes(model, graph)
    shapes = {v.name: v.shape for v in graph.inputs}
    alone = {
        label: shapes[name][axis]
        for label, (name, axis) in binding.free(model).items()
        if name in shapes and not isinstance(shapes[name][axis], Expr) and not isinstance(bind.get(label), int)
    }
    lines = [f"{label} is {size}, because the model takes no other size" for label, size in alone.items()]
    lines += [
        f"{label} is {described(size)}, because the model does not take all of {binding.shown(bind[label])}"
        for label, size in sizes.items()
        if label in bind and (size.start, size[-1], size.step) != (bind[label].start, bind[label][-1], 1)
    ]
    if default := {label: size for label, size in sizes.items() if label not in bind}:
        label, size = max(default.items(), key=lambda item: item[1].start)
        named = ", ".join(f"{name} {described(of)}" for name, of in list(default.items())[:_NAMED])
        more = ", ..." if len(default) > _NAMED else ""
        larger = binding_of(label, range(size.start, _MORE * size[-1] + 1))
        lines.append(f"sizes that vary: {named}{more}; for others, compile with {larger}")
    return lines


def _sizes(model: ModelProto, graph: Graph) -> dict[str, range]:
    """Return the sizes that vary, by label."""
    shapes = {v.name: v.shape for v in graph.inputs}
    result: dict[str, range] = {}
    for label, (name, axis) in binding.free(model).items():
        size = shapes[name][axis] if name in shapes else 1
        if isinstance(size, Expr):
            ((_, step),) = size.terms
            result[label] = range(size.low, size.high + 1, step)
    return result
