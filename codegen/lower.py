"""Lowers a graph to dispatches. A view needs no dispatch, because a value may be part of another value's memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from intaglio.codegen import ops, wgsl
from intaglio.codegen.kernel import OPS, Kernel, Operand, Weight, fours, most, refuse
from intaglio.codegen.ops import elementwise
from intaglio.compiler.ir import dims
from intaglio.compiler.ir.dims import Dim, Symbol
from intaglio.compiler.ir.errors import UNDECIDED, UnsupportedOperator
from intaglio.compiler.ir.graph import Graph
from intaglio.compiler.ir.nodes import Node
from intaglio.compiler.ir.operators import Elementwise
from intaglio.compiler.ir.refusals import Refusals
from intaglio.compiler.ir.values import Value
from intaglio.compiler.semantics.shapes import slices

_LARGEST = (1 << 31) - 1

assert ops  # importing it filled OPS


@dataclass(frozen=True)
class Place:
    """Where a value lies: in the memory of `root`, from element `offset` on."""

    root: Value | Weight
    offset: Dim = 0


@dataclass(frozen=True)
class Dispatch:
    """A kernel, the node it comes from, and where each of its operands lies."""

    kernel: Kernel
    node: Node
    places: dict[str, Place]

    @property
    def reads(self) -> tuple[Place, ...]:
        return tuple(self.places[name] for name in self.kernel.reads)

    @property
    def writes(self) -> tuple[Place, ...]:
        return tuple(self.places[name] for name in self.kernel.writes)


def lower(graph: Graph) -> list[Dispatch]:
    """Return the dispatches of a graph, in order.

    Raises UnsupportedOperator, which names every node without a kernel.
    """
    _own_outputs(graph)
    kernels = _all_kernels(graph)
    places: dict[Value, Place] = {}
    dispatches: list[Dispatch] = []
    for node in graph.nodes:
        places.update({out: Place(state) for out, state in node.written.items()})
        if (base := _view(node)) is not None:
            source = _place(places, node.inputs[0])
            places[node.output] = Place(source.root, source.offset + base)
            continue
        for kernel in kernels[node]:
            dispatches += _prepared(kernel, node, places)
            dispatches.append(_dispatch(kernel, node, places))
    return dispatches


def _all_kernels(graph: Graph) -> dict[Node, list[Kernel]]:
    """Return the kernels of every node; a view has none."""
    result: dict[Node, list[Kernel]] = {}
    refusals = Refusals()
    for node in graph.nodes:
        try:
            result[node] = _kernels(node) if _view(node) is None else []
        except UnsupportedOperator as e:
            refusals.add(e, node.op, node.name)
    refusals.check()
    return result


def _kernels(node: Node) -> list[Kernel]:
    """Return the kernels of a node, without those that would write nothing."""
    if node.op not in OPS:
        raise refuse(node, "")
    if not any(most(v.type) for v in node.outputs):
        return []
    try:
        result = OPS[node.op](node)
    except dims.NotLinear as e:
        raise refuse(node, UNDECIDED.format(e)) from e
    kernels = result if isinstance(result, list) else [result]
    return [k for k in kernels if all(most(v.type) for v in k.writes.values())]


def _dispatch(kernel: Kernel, node: Node, places: dict[Value, Place]) -> Dispatch:
    operands = {**kernel.reads, **kernel.writes}
    return Dispatch(kernel, node, {name: _place(places, v) for name, v in operands.items()})


def _prepared(kernel: Kernel, node: Node, places: dict[Value, Place]) -> Iterator[Dispatch]:
    """Yield the dispatches that a kernel needs first: sizes written as numbers, and copies that align vec4 operands."""
    for name, operand in kernel.reads.items():
        value = operand.value if isinstance(operand, Weight) else operand
        own = Value(f"{value.name}.copy", value.type)
        if value.const is not None and value.const.dtype == object and value not in places:
            yield _dispatch(elementwise.sizes(value, own), node, places)
            places[value] = Place(own)
        if name in kernel.vec4 and not fours(_place(places, operand).offset):
            yield _dispatch(elementwise.copy(value, own), node, places)
            places[value] = Place(own)


def _place(places: dict[Value, Place], operand: Operand) -> Place:
    if isinstance(operand, Weight):
        return places.get(operand.value, Place(operand))
    place = places.get(operand, Place(operand))
    if isinstance(place.root, Value) and place.root.const is not None:
        return Place(Weight(place.root), place.offset)
    return place


def _view(node: Node) -> Dim | None:
    """Return the element of its input at which a node's result begins, or None if the result is not one piece of it."""
    if node.op == "Reshape":
        return 0
    if node.op != "Slice":
        return None
    shape, cuts = node.inputs[0].shape, slices(node)
    if any(step != 1 for _, _, step in cuts):
        return None
    cut = [i for i, (_, count, _) in enumerate(cuts) if count != shape[i]]
    if any(cuts[i][1] != 1 for i in range(cut[-1] if cut else 0)):
        return None
    return sum((first * s for (first, _, _), s in zip(cuts, wgsl.strides(shape), strict=True)), 0)


def _own_outputs(graph: Graph) -> None:
    """Give every output its own memory: copy outputs that are views, inputs or constants, and those listed twice."""
    for i, value in enumerate(list(graph.outputs)):
        node = graph.producer(value)
        if node is None or _view(node) is not None or value in graph.outputs[:i] or value in node.written:
            name, value.name = value.name, f"{value.name}.source"
            copy = Value(name, value.type)
            same = Elementwise((value,), (("Identity", "x0"),))
            graph.add(Node.of(same, (copy,), node.sources if node else ()))
            graph.outputs[i] = copy


def symbols(graph: Graph, dispatches: Sequence[Dispatch]) -> dict[str, Symbol]:
    """Return the symbols of a graph and its dispatches by name, each after those that it follows from.

    Raises UnsupportedOperator if a size may be too large for an index.
    """
    result: dict[str, Symbol] = {}
    sizes = (dims.bounded(d) for d in _sizes(graph, dispatches) if isinstance(d, dims.Expr))
    for symbol in (s for d in sizes for s in dims.with_rules(d)):
        if symbol.high > _LARGEST:
            raise UnsupportedOperator(f"the size {symbol} may be {symbol.high}, more than {_LARGEST}")
        if result.setdefault(symbol.name, symbol) != symbol:
            raise UnsupportedOperator(f"two sizes have the name {symbol}")
    return result


def _sizes(graph: Graph, dispatches: Sequence[Dispatch]) -> Iterator[Dim]:
    """Yield every size that the plan or a kernel may name."""
    for value in (*graph.inputs, *graph.values(), *graph.outputs):
        yield from value.shape
        if value.const is not None and value.const.dtype == object:
            yield from value.array.reshape(-1)
    for node in graph.nodes:
        yield from node.sizes
    for d in dispatches:
        yield from (d.kernel.flops, d.kernel.times)
        yield from (place.offset for place in d.places.values())
        parts = (part for variant in (d.kernel, *d.kernel.others) for part in variant.chain)
        yield from (size for part in parts for groups in part.grid for size in groups.of)
        yield from (size for touched in d.kernel.touched.values() for size in touched)
