"""Rewrite the different forms that exporters write into one canonical form, so that later rules stay short."""

from __future__ import annotations

import numpy as np

from intaglio.compiler.ir.graph import Graph
from intaglio.compiler.ir.nodes import Node
from intaglio.compiler.ir.values import DTYPES, Value, known
from intaglio.compiler.rewrite.builder import GraphBuilder
from intaglio.compiler.rewrite.pattern import Rule, apply
from intaglio.compiler.rewrite.views import permutation
from intaglio.compiler.semantics.shapes import slices


def canonical(graph: Graph) -> int:
    """Rewrite the graph into canonical form; return the number of changes.

    Replace other views by Reshape and Transpose, division by a constant by multiplication, and Split, Gemm and
    operators with any number of inputs by simpler operators. Remove no-ops.
    """
    total = 0
    while changed := _walk(graph) + apply(graph, *RULES).fired + graph.prune():
        total += changed
    return total


def _walk(graph: Graph) -> int:
    return sum(_rewrite(graph, node) for node in graph.nodes if graph.producer(node.output) is node)


def _rewrite(graph: Graph, node: Node) -> bool:
    out = node.output
    builder = GraphBuilder(graph, node)
    if node.op in ("Squeeze", "Unsqueeze", "Flatten") or (node.op == "Transpose" and _keeps_order(node)):
        builder.rebind(out, reshape(builder, node.inputs[0], out))
    elif (kept := _kept(node)) is not None and not (out in graph.outputs and graph.is_named(kept)):
        graph.redirect(out, kept)
    elif node.op == "Div" and (factor := _reciprocal(node.inputs[1])) is not None and not _is_rounded(graph, out):
        builder.rebind(out, builder.Mul(node.inputs[0], builder.constant(factor)))
    elif node.op == "Concat" and (full := tuple(v for v in node.inputs if 0 not in v.shape)) not in ((), node.inputs):
        builder.rebind(out, builder.Concat(*full, **node.attrs))
    elif node.op == "Split":
        _cut(graph, builder, node)
    elif node.op == "IsInf" and not all(node.attrs.get(k, 1) for k in _SIGNS):
        builder.rebind(out, _one_sided(builder, node))
    elif node.op in _VARIADIC and len(node.inputs) != _VARIADIC[node.op][1]:
        builder.rebind(out, _pairwise(builder, node))
    elif node.op == "Gemm":
        builder.rebind(out, _gemm(builder, node))
    elif node.op.startswith("Reduce") and (axes := _front_axes(node)) is not None:
        axes = builder.constant(axes - len(node.inputs[0].shape))
        graph.replace(node, Node(node.op, (node.inputs[0], axes), node.outputs, node.attrs, node.sources))
    elif node.op == "Reshape" and (inner := graph.producer(node.inputs[0])) and inner.op == "Reshape":
        builder.rebind(out, reshape(builder, inner.inputs[0], out))
    else:
        return False
    return True


def reshape(builder: GraphBuilder, x: Value, like: Value) -> Value:
    """Return `x` reshaped to the shape of `like`."""
    return builder.Reshape(x, builder.constant(known(like.shape, (len(like.shape),)), "shape"), allowzero=1)


def _cut(graph: Graph, builder: GraphBuilder, node: Node) -> None:
    """Replace a Split by one Slice for each output."""
    axis, at = node.attrs.get("axis", 0) % len(node.inputs[0].shape), 0
    graph.remove(node)
    for part in node.outputs:
        bounds = (known([at], (1,)), known([at + part.shape[axis]], (1,)), np.array([axis]))
        inputs = (node.inputs[0], *map(builder.constant, bounds))
        graph.add(Node("Slice", inputs, (part,), {}, node.sources))
        at = at + part.shape[axis]


def _reciprocal(divisor: Value) -> np.ndarray | None:
    """Return 1 / divisor if it is a float constant and both are normal numbers, else None."""
    if not isinstance(divisor.const, np.ndarray) or divisor.const.dtype.kind != "f":
        return None
    size = np.abs(divisor.const)
    info = np.finfo(size.dtype)
    return np.reciprocal(divisor.const) if ((size >= info.tiny) & (size <= 1 / info.tiny)).all() else None


def _is_rounded(graph: Graph, value: Value) -> bool:
    """Return whether a reader rounds `value`, because an error in its last bit can then become a difference of 1."""
    return any(reader.op in ("Round", "Floor", "Ceil") for reader in graph.consumers(value))


def _front_axes(node: Node) -> np.ndarray | None:
    """Return the constant axes of a reduction if none of them is negative, else None."""
    axes = node.inputs[1].const if node.input(1) is not None else None
    return axes if isinstance(axes, np.ndarray) and axes.size and (axes >= 0).all() else None


def _keeps_order(node: Node) -> bool:
    """Return whether a Transpose moves only dimensions of size 1 and therefore keeps the order of the elements."""
    shape = node.inputs[0].shape
    moved = [p for p in permutation(node) if shape[p] != 1]
    return moved == sorted(moved)


def _kept(node: Node) -> Value | None:
    """Return the input that a node passes through unchanged, or None."""
    x = _always_chosen(node) if node.op == "Where" else node.inputs[0]
    if x is None or x.const is not None or x.type != node.output.type:
        return None
    return x if node.op == "Where" or _is_noop(node) else None


def _always_chosen(node: Node) -> Value | None:
    """Return the input that a Where with a constant condition selects for all elements, or None."""
    condition, *choices = node.inputs
    if condition.const is None or not (condition.array.all() or not condition.array.any()):
        return None
    return choices[0 if condition.array.all() else 1]


def _is_noop(node: Node) -> bool:
    if node.op == "Slice":
        return all(first == 0 and step == 1 for first, _, step in slices(node))
    if node.op == "Concat":
        return len(node.inputs) == 1
    return node.op in ("Identity", "Cast", "Reshape", "Expand") or (
        node.op == "Transpose" and permutation(node) == sorted(permutation(node))
    )


_SIGNS = {"detect_negative": "Greater", "detect_positive": "Less"}


def _one_sided(builder: GraphBuilder, node: Node) -> Value:
    """Return IsInf restricted to the sign that the attributes select."""
    x = node.inputs[0]
    infinite, zero = builder.IsInf(x), builder.constant(np.array(0, DTYPES[x.dtype]))
    for attribute, other in _SIGNS.items():
        if not node.attrs.get(attribute, 1):
            infinite = builder.And(infinite, builder.node(other, (x, zero))[0])
    return infinite


# Operators with any number of inputs: the binary operator that replaces them, and the number of inputs with a kernel.
_VARIADIC = {"Max": ("Max", 2), "Min": ("Min", 2), "Sum": ("Add", None), "Mean": ("Add", None)}


def _pairwise(builder: GraphBuilder, node: Node) -> Value:
    total = node.inputs[0]
    for value in node.inputs[1:]:
        (total,) = builder.node(_VARIADIC[node.op][0], (total, value))
    if node.op == "Mean":
        return builder.Mul(total, builder.constant(np.array(1 / len(node.inputs), DTYPES[total.dtype])))
    return builder.Identity(total) if total is node.inputs[0] else total


def _gemm(builder: GraphBuilder, node: Node) -> Value:
    a, b = node.inputs[:2]
    a = builder.Transpose(a, perm=[1, 0]) if node.attrs.get("transA") else a
    b = builder.Transpose(b, perm=[1, 0]) if node.attrs.get("transB") else b
    y = builder.MatMul(a, b)
    if (alpha := node.attrs.get("alpha", 1.0)) != 1:
        y = builder.Mul(y, builder.constant(np.array(alpha, DTYPES[y.dtype])))
    if (c := node.input(2)) is None:
        return y
    if (beta := node.attrs.get("beta", 1.0)) != 1:
        c = builder.Mul(c, builder.constant(np.array(beta, DTYPES[c.dtype])))
    return builder.Add(y, c)


class MultiplyByOne(Rule):
    """Remove a multiplication by 1."""

    @staticmethod
    def pattern(op, x, s):
        return x * s

    @staticmethod
    def rewrite(op, out, x, s):
        if s.scalar != 1 or x.type != out.type:
            op.decline("the factor is not 1")
        return x


class TransposeTwice(Rule):
    """Merge two successive transposes into one."""

    @staticmethod
    def pattern(op, x):
        return op.Transpose(op.Transpose(x))

    @staticmethod
    def rewrite(op, out, x):
        inner = permutation(op.graph.producer(op.root.inputs[0]))
        perm = [inner[p] for p in permutation(op.root)]
        return x if perm == sorted(perm) else op.Transpose(x, perm=perm)


RULES = (MultiplyByOne, TransposeTwice)
