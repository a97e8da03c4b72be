"""Einsum: sums of products of elements whose axes carry labels, two operands at a time as a matrix product."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from intaglio.compiler.ir import dims
from intaglio.compiler.ir.dims import Dim
from intaglio.compiler.ir.errors import BadModel
from intaglio.compiler.ir.nodes import Node
from intaglio.compiler.ir.values import Value
from intaglio.compiler.rewrite.builder import GraphBuilder

Label = str | int  # the axes of an ellipsis are labelled -1, -2, ..., from the last


@dataclass(frozen=True)
class _Term:
    """A tensor and the labels of its axes."""

    value: Value
    labels: tuple[Label, ...]


def _einsum(op: GraphBuilder, node: Node) -> list[Value]:
    terms, out = _parsed(node)
    sizes: dict[Label, Dim] = {}
    for label, d in ((label, d) for t in terms for label, d in zip(t.labels, t.value.shape, strict=True)):
        if sizes.setdefault(label, d) == 1:
            sizes[label] = d
        elif d not in (1, sizes[label]):
            raise BadModel(f"Einsum {node.attrs['equation']}: {label} has the two sizes {sizes[label]} and {d}")
    terms = [_squeezed(op, _diagonal(op, t), sizes) for t in terms]
    result, *rest = terms
    result = _summed(op, result, {*out, *(label for t in rest for label in t.labels)})
    while rest:
        term, *rest = rest
        remaining = {*out, *(label for t in rest for label in t.labels)}
        result = _product(op, result, _summed(op, term, remaining | {*result.labels}), remaining)
    return [_ordered(op, result, out)]


def _parsed(node: Node) -> tuple[list[_Term], tuple[Label, ...]]:
    """The operands with their labels, and the labels of the result; ONNX's inference has checked that they match."""
    left, arrow, right = "".join(node.attrs["equation"].split()).partition("->")
    texts = left.split(",")
    ranks = [len(v.shape) - len(t.replace("...", "")) for v, t in zip(node.inputs, texts, strict=True)]
    labels = [_labels(t, rank) for t, rank in zip(texts, ranks, strict=True)]
    terms = [_Term(v, ls) for v, ls in zip(node.inputs, labels, strict=True)]
    counts = Counter(label for ls in labels for label in ls)
    dots = max((rank for t, rank in zip(texts, ranks, strict=True) if "..." in t), default=0)
    once = "".join(sorted(label for label, n in counts.items() if isinstance(label, str) and n == 1))
    return terms, _labels(right if arrow else f"...{once}", dots)


def _labels(text: str, dots: int) -> tuple[Label, ...]:
    before, ellipsis, after = text.partition("...")
    return (*before, *(range(-dots, 0) if ellipsis else ()), *after)


def _diagonal(op: GraphBuilder, term: _Term) -> _Term:
    """Axes of the same label become one, along their diagonal."""
    for label, count in Counter(term.labels).items():
        for _ in range(count - 1):
            others = [i for i, other in enumerate(term.labels) if other != label]
            same = [i for i, other in enumerate(term.labels) if other == label]
            value = op.Transpose(term.value, perm=[*others, *same])
            *rows, size, _ = value.shape
            flat = op.Reshape(value, op.dimensions(*rows, size * size))
            ends = (op.integers(0), op.dimensions(size * size), op.integers(-1), op.integers(size + 1))
            labels = [term.labels[i] for i in [*others, *same[1:]]]
            term = _Term(op.Slice(flat, *ends), tuple(labels))
    return term


def _squeezed(op: GraphBuilder, term: _Term, sizes: dict[Label, Dim]) -> _Term:
    """Without the axes of one element that are repeated along another operand's."""
    whole = [i for i, label in enumerate(term.labels) if term.value.shape[i] == sizes[label]]
    shape = op.dimensions(*(term.value.shape[i] for i in whole))
    return _Term(op.Reshape(term.value, shape, allowzero=1), tuple(term.labels[i] for i in whole))


def _summed(op: GraphBuilder, term: _Term, remaining: set[Label]) -> _Term:
    """Summed over the axes whose labels do not remain."""
    axes = [i for i, label in enumerate(term.labels) if label not in remaining]
    if not axes:
        return term
    value = op.ReduceSum(term.value, op.integers(*axes), keepdims=0)
    return _Term(value, tuple(label for label in term.labels if label in remaining))


def _product(op: GraphBuilder, a: _Term, b: _Term, remaining: set[Label]) -> _Term:
    """The products of all elements of a and b, summed over common labels that do not remain."""
    shared = [label for label in a.labels if label in b.labels]
    batch, inner = ([label for label in shared if (label in remaining) == outer] for outer in (True, False))
    left, right = ([label for label in t.labels if label not in shared] for t in (a, b))
    sizes = dict(zip((*a.labels, *b.labels), (*a.value.shape, *b.value.shape), strict=True))

    def matrices(term: _Term, *groups: Sequence[Label]) -> Value:
        ordered = _ordered(op, term, [label for group in (batch, *groups) for label in group])
        sides = (dims.product(tuple(sizes[label] for label in group)) for group in groups)
        return op.Reshape(ordered, op.dimensions(*(sizes[label] for label in batch), *sides), allowzero=1)

    y = op.MatMul(matrices(a, left, inner), matrices(b, inner, right))
    labels = (*batch, *left, *right)
    return _Term(op.Reshape(y, op.dimensions(*(sizes[label] for label in labels)), allowzero=1), labels)


def _ordered(op: GraphBuilder, term: _Term, labels: Sequence[Label]) -> Value:
    return op.Transpose(term.value, perm=[term.labels.index(label) for label in labels])


EXPANSIONS = {"Einsum": _einsum}
