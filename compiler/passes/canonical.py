"""Canonical: one spelling for what exporters write in several, so that the rules after it stay short."""

from __future__ import annotations

import numpy as np

from intaglio.compiler.ir.graph import DTYPES, Graph, Node, Value, known
from intaglio.compiler.rewrite.builder import GraphBuilder
from intaglio.compiler.rewrite.pattern import Rule, apply
from intaglio.compiler.rewrite.views import permutation
from intaglio.compiler.semantics.shapes import slices


def canonical(graph: Graph) -> int:
    """Views become Reshape and Transpose, division by a constant multiplication, no-ops nothing; returns
    the number of changes."""
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
    """`x` in the shape of `like`."""
    return builder.Reshape(x, builder.constant(known(like.shape, (len(like.shape),)), "shape"), allowzero=1)


def _cut(graph: Graph, builder: GraphBuilder, node: Node) -> None:
    """A slice for each part."""
    axis, at = node.attrs.get("axis", 0) % len(node.inputs[0].shape), 0
    graph.remove(node)
    for part in node.outputs:
        bounds = (known([at], (1,)), known([at + part.shape[axis]], (1,)), np.array([axis]))
        inputs = (node.inputs[0], *map(builder.constant, bounds))
        graph.add(Node("Slice", inputs, (part,), {}, node.sources))
        at = at + part.shape[axis]


def _reciprocal(divisor: Value) -> np.ndarray | None:
    """1 / divisor, if it is a constant whose reciprocal is as precise."""
    if not isinstance(divisor.const, np.ndarray) or divisor.const.dtype.kind != "f":
        return None
    size = np.abs(divisor.const)
    info = np.finfo(size.dtype)
    return np.reciprocal(divisor.const) if ((size >= info.tiny) & (size <= 1 / info.tiny)).all() else None


def _is_rounded(graph: Graph, value: Value) -> bool:
    """Whether readers round it, so that the last bit, which a reciprocal may change, can make a difference of 1."""
    return any(reader.op in ("Round", "Floor", "Ceil") for reader in graph.consumers(value))


def _front_axes(node: Node) -> np.ndarray | None:
    """The axes of a reduction, if they are counted from the front."""
    axes = node.inputs[1].const if node.input(1) is not None else None
    return axes if isinstance(axes, np.ndarray) and axes.size and (axes >= 0).all() else None


def _keeps_order(node: Node) -> bool:
    """Whether a Transpose moves only dimensions of size 1, and so leaves the elements in their order."""
    shape = node.inputs[0].shape
    moved = [p for p in permutation(node) if shape[p] != 1]
    return moved == sorted(moved)


def _kept(node: Node) -> Value | None:
    """The input that a node gives back as it is, if it does."""
    x = _always_chosen(node) if node.op == "Where" else node.inputs[0]
    if x is None or x.const is not None or x.type != node.output.type:
        return None
    return x if node.op == "Where" or _is_noop(node) else None


def _always_chosen(node: Node) -> Value | None:
    """What a choice is for all elements, if that is known."""
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
    """An infinity whose sign is not one of those that do not count."""
    x = node.inputs[0]
    infinite, zero = builder.IsInf(x), builder.constant(np.array(0, DTYPES[x.dtype]))
    for attribute, other in _SIGNS.items():
        if not node.attrs.get(attribute, 1):
            infinite = builder.And(infinite, builder.node(other, (x, zero))[0])
    return infinite


# operators that take any number of operands: what two of them make, and the number for which there is a kernel
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
    @staticmethod
    def pattern(op, x, s):
        return x * s

    @staticmethod
    def rewrite(op, out, x, s):
        if s.scalar != 1 or x.type != out.type:
            op.decline("the factor is not 1")
        return x


class TransposeTwice(Rule):
    @staticmethod
    def pattern(op, x):
        return op.Transpose(op.Transpose(x))

    @staticmethod
    def rewrite(op, out, x):
        inner = permutation(op.graph.producer(op.root.inputs[0]))
        perm = [inner[p] for p in permutation(op.root)]
        return x if perm == sorted(perm) else op.Transpose(x, perm=perm)


RULES = (MultiplyByOne, TransposeTwice)
