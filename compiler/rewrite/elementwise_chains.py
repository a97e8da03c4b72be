"""Chains: sequences of elementwise operators whose other operands are numbers, such as roundings to few bits.

Their effect on a number is an expression (see compiler/ir/expression.py), whatever tensor it is in.
"""

from __future__ import annotations

from collections.abc import Sequence

from intaglio.compiler.ir.expression import BINARY, UNARY, Expression, shifted, step
from intaglio.compiler.ir.graph import Graph
from intaglio.compiler.ir.nodes import Node
from intaglio.compiler.ir.operators import FakeQuantize
from intaglio.compiler.ir.values import Value


def chain_source(graph: Graph, value: Value) -> tuple[Value, list[Node]]:
    """The value that the chain that ends in `value` begins with, and its operators in order; there may be none."""
    chain: list[Node] = []
    while (node := graph.producer(value)) is not None and (x := operand_of(node)) is not None:
        chain.insert(0, node)
        value = x
    return value, chain


def operand_of(node: Node) -> Value | None:
    """The operand that an elementwise operator changes by itself, its others being numbers; None if there is no such
    one."""
    data = [v for v in node.inputs if v is not None and v.scalar is None]
    if len(data) != 1 or data[0].type != node.output.type or data[0].dtype != "f32":
        return None
    return data[0] if node.op in UNARY | BINARY | {"Clip"} or rounding(node) else None


def rounding(node: Node) -> FakeQuantize[Value] | None:
    """The rounding that a node computes, if its steps are constants."""
    own = FakeQuantize.of(node)
    return own if own is not None and own.scale is not None else None


def spelled(own: FakeQuantize[Value], x: str) -> Expression:
    """What a rounding to known steps does to `x`, as ONNX defines QuantizeLinear and DequantizeLinear."""
    scale, zero = (v.scalar for v in own.inputs[1:])
    return (
        ("Div", x, scale),
        ("Round", "t0"),
        ("Add", "t1", zero),
        ("Clip", "t2", own.low, own.high),
        ("Sub", "t3", zero),
        ("Mul", "t4", scale),
    )


def expression(chain: Sequence[Node]) -> Expression:
    """The expression that a chain computes from "acc"."""
    steps: Expression = ()
    for node in chain:
        x = f"t{len(steps) - 1}" if steps else "acc"
        if rounds := rounding(node):
            steps += shifted(spelled(rounds, "acc"), len(steps), {"acc": x})
        else:
            data = operand_of(node)
            args = [None if v is None else x if v is data else v.scalar for v in node.inputs]
            steps += (step(node.op, node.attrs, args),)
    return steps
