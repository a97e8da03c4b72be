"""Describe: what graph.json says of the steps, for people and for `verify`, from the graphs and their dispatches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict

from intaglio.codegen.kernel import Weight
from intaglio.codegen.lower import Dispatch
from intaglio.codegen.traffic import touched
from intaglio.compiler.ir import graph
from intaglio.compiler.ir.dims import Dim
from intaglio.compiler.ir.summary import Outline, outline
from intaglio.runtime.instruments import provenance as graphs
from intaglio.runtime.instruments.provenance import Operand, Operation, Origin, Work
from intaglio.runtime.sizes import Size


def describe(
    models: Mapping[str, Outline], programs: Mapping[str, graph.Graph], dispatches: Mapping[str, Sequence[Dispatch]]
) -> graphs.Graph:
    """`models`: outlines of what was loaded; `programs` and `dispatches` by program name."""
    return graphs.Graph(
        {name: _outline(o) for name, o in models.items()},
        {name: _outline(outline(graph)) for name, graph in programs.items()},
        {name: _work(graph, dispatches[name]) for name, graph in programs.items()},
    )


def _outline(o: Outline) -> graphs.Outline:
    return graphs.Outline(o.inputs, o.outputs, tuple(Operation(**asdict(op)) for op in o.operations), o.types)


def _work(graph: graph.Graph, dispatches: Sequence[Dispatch]) -> tuple[Work, ...]:
    index = {node: i for i, node in enumerate(graph.nodes)}
    last = {value: d for d in dispatches for value in d.kernel.writes.values()}
    return tuple(
        Work(
            index[d.node],
            _sizes((d.kernel.flops, d.kernel.times)),
            tuple(_operand(d, name, _sizes(shape), last) for name, shape in touched(d).items()),
        )
        for d in dispatches
    )


def _operand(d: Dispatch, name: str, touched: tuple[Size, ...], last: Mapping[graph.Value, Dispatch]) -> Operand:
    operand, place = (d.kernel.reads | d.kernel.writes)[name], d.places[name]
    value = operand.value if isinstance(operand, Weight) else operand
    return Operand(
        name,
        value.name,
        value.dtype,
        _sizes(value.shape),
        touched,
        _size(place.offset),
        _layout(place.root) if isinstance(place.root, Weight) else "",
        last.get(value) is d,
        _origin(value.origin) if name in d.kernel.writes else None,
    )


def _layout(weight: Weight) -> str:
    return weight.layout if weight.format == "f32" else f"{weight.layout} {weight.format}"


def _origin(origin: graph.Origin | None) -> Origin | None:
    if origin is None:
        return None
    return Origin(origin.model, origin.name, tuple((kind, _sizes(dims)) for kind, dims in origin.views))


def _sizes(shape: tuple[Dim, ...]) -> tuple[Size, ...]:
    return tuple(map(_size, shape))


def _size(d: Dim) -> Size:
    return d if isinstance(d, int) else str(d)
