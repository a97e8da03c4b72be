"""Describes the steps of a bundle for graph.json, which people and `verify` read, from the graphs and dispatches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from intaglio.codegen.kernel import Weight
from intaglio.codegen.lower import Dispatch
from intaglio.codegen.traffic import touched
from intaglio.compiler.ir import nodes
from intaglio.compiler.ir.dims import Dim, written
from intaglio.compiler.ir.expression import text
from intaglio.compiler.ir.graph import Graph
from intaglio.compiler.ir.nodes import Node
from intaglio.compiler.ir.values import Origin as ValueOrigin
from intaglio.compiler.ir.values import Value
from intaglio.runtime.instruments import provenance
from intaglio.runtime.instruments.provenance import Operand, Operation, Origin, Outline, Work
from intaglio.runtime.sizes import Size

_EXPRESSIONS = ("steps", "tail", "gate", "scored", "masked", "weighed")  # attributes that hold one


def describe(
    models: Mapping[str, Outline], programs: Mapping[str, Graph], dispatches: Mapping[str, Sequence[Dispatch]]
) -> provenance.Graph:
    """Return the content of graph.json.

    models: outlines of the loaded models. programs, dispatches: by program name.
    """
    return provenance.Graph(
        dict(models),
        {name: outline(graph) for name, graph in programs.items()},
        {name: _work(graph, dispatches[name]) for name, graph in programs.items()},
    )


def outline(g: Graph) -> Outline:
    """Return the outline of a graph as it is now, without its weights."""
    values = [*g.inputs, *g.states, *g.values(), *g.outputs]
    return Outline(
        tuple(v.name for v in g.inputs),
        tuple(v.name for v in g.outputs),
        tuple(_operation(g, node) for node in g.nodes),
        {v.name: str(v.type) for v in reversed(values) if v.const is None or v.const.size > 4},
    )


def _operation(g: Graph, node: Node) -> Operation:
    consts = [v is not None and v.const is not None and g.producer(v) is None for v in node.reads]
    reads = [
        "" if v is None else nodes.argument(v) if const else v.name for v, const in zip(node.reads, consts, strict=True)
    ]
    return Operation(
        node.op,
        next((v.origin.model for v in node.outputs if v.origin), g.model),
        node.sources,
        tuple(reads),
        tuple(i for i, const in enumerate(consts) if const),
        tuple(v.name for v in node.outputs),
        ", ".join(f"{k}={text(a) if k in _EXPRESSIONS else nodes.short(a)}" for k, a in sorted(node.settings.items())),
    )


def _work(graph: Graph, dispatches: Sequence[Dispatch]) -> tuple[Work, ...]:
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


def _operand(d: Dispatch, name: str, touched: tuple[Size, ...], last: Mapping[Value, Dispatch]) -> Operand:
    operand, place = d.kernel.operands[name], d.places[name]
    value = operand.value if isinstance(operand, Weight) else operand
    return Operand(
        name,
        value.name,
        value.dtype,
        _sizes(value.shape),
        touched,
        written(place.offset),
        _layout(place.root) if isinstance(place.root, Weight) else "",
        last.get(value) is d,
        _origin(value.origin) if name in d.kernel.writes else None,
    )


def _layout(weight: Weight) -> str:
    return weight.layout if weight.format == "f32" else f"{weight.layout} {weight.format}"


def _origin(origin: ValueOrigin | None) -> Origin | None:
    if origin is None:
        return None
    return Origin(origin.model, origin.name, tuple((kind, _sizes(dims)) for kind, dims in origin.views))


def _sizes(shape: tuple[Dim, ...]) -> tuple[Size, ...]:
    return tuple(map(written, shape))
