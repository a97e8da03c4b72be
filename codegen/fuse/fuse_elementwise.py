"""Fuses chains of elementwise operators into expressions, and makes an expression the tail of the kernel before it if
that kernel can apply it.

An expression is data (see compiler/ir/expression.py), so a kernel can apply one without support for each operator.
"""

from __future__ import annotations

from dataclasses import replace

from intaglio.codegen.fuse.hosts import by_fours
from intaglio.codegen.target import MAX_BINDINGS
from intaglio.compiler.ir.expression import ELEMENTWISE, shifted, step
from intaglio.compiler.ir.graph import Graph
from intaglio.compiler.ir.nodes import Node, Tail, operands
from intaglio.compiler.ir.operators import Elementwise, Linear
from intaglio.compiler.ir.values import Value

_ONE_BY_ONE = ("Elementwise", "Conv", "ConvTranspose")  # their kernels finish one element at a time


def fuse_elementwise(graph: Graph) -> int:
    """Turn elementwise nodes into expressions and join them to the nodes before them.

    Returns the number of nodes that were joined.
    """
    for node in graph.nodes:
        if node.op in ELEMENTWISE:
            graph.replace(node, _expression(node))
    changed = 0
    for node in graph.nodes:
        while (of := Elementwise.of(node)) and (host := _host(graph, node, of)) is not None:
            node = _join(graph, host, node, of)
            changed += 1
    return changed


def _expression(node: Node) -> Node:
    tensors = [v for v in node.inputs if v is not None and v.scalar is None]
    operands = [v for i, v in enumerate(node.inputs) if v is not None and not _is_number(node, i, tensors)]
    inputs = tuple(dict.fromkeys(operands))
    args = [f"x{inputs.index(v)}" if v in inputs else _number(v) for v in node.inputs]
    if node.op == "Cast":
        args.append(node.attrs["to"])
    return Node.of(Elementwise(inputs, (step(node.op, node.attrs, args),)), node.outputs, node.sources)


def _is_number(node: Node, i: int, tensors: list[Value]) -> bool:
    """Return whether the expression can hold input `i` as a number, because another operand has the same type."""
    value = node.inputs[i]
    if value.scalar is None or all(len(v.shape) < len(value.shape) for v in tensors):
        return False
    return any(v.dtype == value.dtype for v in tensors) or (node.op == "Pow" and i == 1)


def _number(value: Value | None) -> float | None:
    return None if value is None else value.scalar


def _host(graph: Graph, node: Node, of: Elementwise[Value]) -> Node | None:
    """Return the node that can apply the expression to its result, which only `node` reads; None if there is none."""
    for value in node.inputs:
        maker = graph.producer(value)
        if (
            maker is None
            or graph.consumers(value) != [node]
            or value in graph.outputs
            or value.type != node.output.type
        ):
            continue
        hosts = maker.op in _ONE_BY_ONE or (_takes_a_tail(maker) and by_fours(of, node.output))
        bindings = len({v for v in (*maker.reads, *node.inputs) if v is not None}) - 1 + len(maker.outputs)
        if hosts and bindings <= MAX_BINDINGS:
            return maker
    return None


def _takes_a_tail(node: Node) -> bool:
    """Return whether the node's kernel takes a tail on four elements at a time: layers, RMS norms, tables of rows."""
    if layer := Linear.of(node):
        return not layer.splits and not layer.gate
    if node.op == "RMSNormalization":
        return node.attrs.get("axis", -1) in (-1, len(node.inputs[0].shape) - 1)
    table = node.inputs[0]
    axis = node.attrs.get("axis", 0)
    return node.op == "Gather" and table.const is not None and len(table.shape) == 2 and axis in (0, -2)


def _join(graph: Graph, host: Node, node: Node, of: Elementwise[Value]) -> Node:
    """`node`'s expression appended to that of `host`; returns the joint node."""
    own = Elementwise.of(host)
    before = own.steps if own is not None else host.tail.steps if host.tail is not None else ()
    reads = [*(host if own is not None or host.tail is not None else replace(host, tail=Tail(()))).reads]
    first = len(reads)
    names: dict[str, str | float] = {}
    for i, value in enumerate(node.inputs):
        if value is host.output:
            names[f"x{i}"] = f"t{len(before) - 1}" if before else "acc"
            continue
        if value not in reads:
            reads.append(value)
        names[f"x{i}"] = f"x{reads.index(value)}"
    steps = before + shifted(of.steps, len(before), names)
    sources = (*host.sources, *node.sources)
    graph.remove(node)
    if own is not None:
        return graph.replace(host, Node.of(Elementwise(operands(reads), steps), node.outputs, sources))
    of_tail = (*(host.tail.operands if host.tail is not None else ()), *reads[first:])
    return graph.replace(host, replace(host, outputs=node.outputs, sources=sources, tail=Tail(steps, of_tail)))
