"""A graph's outline: operators, names and types alone, so that how a graph was outlives its weights."""

from __future__ import annotations

from dataclasses import dataclass

from intaglio.compiler.ir.expression import text
from intaglio.compiler.ir.graph import Graph, Node, argument, short

_EXPRESSIONS = ("steps", "tail", "gate", "scored", "masked", "weighed")


@dataclass(frozen=True)
class Operation:
    """`op` makes the values `makes` of the values `reads`, of which those at `consts` are constants ("" is absent).

    `nodes` are the nodes of the ONNX model `model` that it comes from.
    """

    op: str
    model: str
    nodes: tuple[str, ...]
    reads: tuple[str, ...]
    consts: tuple[int, ...]
    makes: tuple[str, ...]
    attrs: str


@dataclass(frozen=True)
class Outline:
    """`types` has the type of each value and of each larger constant by name."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    operations: tuple[Operation, ...]
    types: dict[str, str]


def outline(graph: Graph) -> Outline:
    values = [*graph.inputs, *graph.states, *graph.values(), *graph.outputs]
    return Outline(
        tuple(v.name for v in graph.inputs),
        tuple(v.name for v in graph.outputs),
        tuple(_operation(graph, node) for node in graph.nodes),
        {v.name: str(v.type) for v in reversed(values) if v.const is None or v.const.size > 4},
    )


def _operation(graph: Graph, node: Node) -> Operation:
    known = [v is not None and v.const is not None and graph.producer(v) is None for v in node.reads]
    reads = ["" if v is None else argument(v) if const else v.name for v, const in zip(node.reads, known, strict=True)]
    return Operation(
        node.op,
        next((v.origin.model for v in node.outputs if v.origin), graph.model),
        node.sources,
        tuple(reads),
        tuple(i for i, const in enumerate(known) if const),
        tuple(v.name for v in node.outputs),
        ", ".join(f"{k}={text(a) if k in _EXPRESSIONS else short(a)}" for k, a in sorted(node.settings.items())),
    )
