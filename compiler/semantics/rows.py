"""Some rows of a value, computed from the same rows of what it depends on.

The whole mask of a long sequence may not fit memory, but each of its rows depends on few numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from intaglio.compiler.ir import dims
from intaglio.compiler.ir.dims import Dim
from intaglio.compiler.ir.expression import ELEMENTWISE
from intaglio.compiler.ir.graph import Graph
from intaglio.compiler.ir.nodes import Node
from intaglio.compiler.ir.values import Value
from intaglio.compiler.semantics import evaluate
from intaglio.compiler.semantics.operators import evaluate as compute
from intaglio.compiler.semantics.shapes import slices

_REPEATING = ("Reshape", "Unsqueeze", "Squeeze", "Expand")


def rows(graph: Graph, value: Value, axis: int, index: np.ndarray, symbols: Mapping[str, int]) -> np.ndarray:
    """Return the elements `index` of `value` along `axis`, as numpy.take of the whole value.

    `value` depends on constants alone; `symbols` has a number for every symbolic dimension. What no rule below can
    restrict to some rows is computed as a whole. Raises BadModel if a value cannot be computed.
    """
    return _Rows(graph, index, symbols).of(value, axis)


class _Rows:
    def __init__(self, graph: Graph, index: np.ndarray, symbols: Mapping[str, int]) -> None:
        self._graph, self._index, self.symbols = graph, index, symbols
        self._results: dict[tuple[Value, int | None], np.ndarray] = {}

    def of(self, value: Value, axis: int | None) -> np.ndarray:
        """Return the rows of `value` on `axis`, or the whole value if it has no such axis."""
        key = value, axis
        if key not in self._results:
            self._results[key] = self._computed(value, axis)
        return self._results[key]

    def _computed(self, value: Value, axis: int | None) -> np.ndarray:
        node = self._graph.producer(value)
        if axis is None:
            nodes = self._graph.ancestors(value)
            results = evaluate.compute(self._graph, nodes, {}, self.symbols, keep=(value,))
            return results[value] if nodes else evaluate.concrete(value, self.symbols)
        rule = RULES.get(node.op) if node is not None else None
        result = rule(self, node, axis) if rule is not None and node is not None else None
        return np.take(self.of(value, None), self._index, axis) if result is None else result

    def producer(self, value: Value) -> Node | None:
        return self._graph.producer(value)

    def shape(self, value: Value, axis: int) -> tuple[int, ...]:
        """Return the shape of the rows of `value`."""
        sizes = [dims.fixed(dims.substitute(d, self.symbols)) for d in value.shape]
        sizes[axis] = len(self._index)
        return tuple(sizes)

    def counts(self, value: Value, axis: int) -> bool:
        """Return whether `value` is the index along `axis` in every row, those that are not computed included.

        It is if it repeats 0, 1, ... and if the computed rows have their own index.
        """
        source = value
        while (node := self._graph.producer(source)) is not None and node.op in _REPEATING:
            source = node.inputs[0]
        numbers = self.of(source, None).reshape(-1)
        shape = [1] * len(value.shape)
        shape[axis] = -1
        own = self.of(value, axis) == self._index.reshape(shape)
        size = dims.fixed(dims.substitute(value.shape[axis], self.symbols))
        return bool(own.all()) and np.array_equal(numbers, np.arange(size))

    def broadcast(self, value: Value, rank: int, axis: int) -> np.ndarray:
        """Return the rows of an input that broadcasts to a result of this rank, of which `axis` is restricted."""
        own = axis - rank + len(value.shape)
        return self.of(value, own if own >= 0 and value.shape[own] != 1 else None)

    def evaluate(self, node: Node, inputs: list[np.ndarray]) -> np.ndarray:
        with np.errstate(all="ignore"):  # masks overflow when they are added
            return compute(node.with_sizes(self.symbols), inputs)[0]


def _elementwise(of: _Rows, node: Node, axis: int) -> np.ndarray | None:
    if any(v is None for v in node.inputs):
        return None
    rank = len(node.output.shape)
    parts = [of.broadcast(v, rank, axis) for v in node.inputs]
    return np.broadcast_to(of.evaluate(node, parts), of.shape(node.output, axis))


def _expand(of: _Rows, node: Node, axis: int) -> np.ndarray | None:
    x = node.inputs[0]
    return np.broadcast_to(of.broadcast(x, len(node.output.shape), axis), of.shape(node.output, axis))


def _constant_of_shape(of: _Rows, node: Node, axis: int) -> np.ndarray | None:
    value = node.attrs.get("value", np.zeros(1, np.float32))
    return np.broadcast_to(value.reshape(()), of.shape(node.output, axis))


def _reshape(of: _Rows, node: Node, axis: int) -> np.ndarray | None:
    """Restrict a Reshape that keeps the axis."""
    x, y = node.inputs[0], node.output
    kept = [i for i, d in enumerate(x.shape) if d == y.shape[axis] and _same(x.shape[:i], y.shape[:axis])]
    return of.of(x, kept[0]).reshape(of.shape(y, axis)) if kept else None


def _same(a: tuple[Dim, ...], b: tuple[Dim, ...]) -> bool:
    """Return whether two shapes have the same sizes but for those of 1."""
    return [d for d in a if d != 1] == [d for d in b if d != 1]


def _transpose(of: _Rows, node: Node, axis: int) -> np.ndarray | None:
    x = node.inputs[0]
    perm = node.attrs.get("perm") or list(range(len(x.shape)))[::-1]
    return of.of(x, perm[axis]).transpose(perm)


def _gather(of: _Rows, node: Node, axis: int) -> np.ndarray | None:
    data, index = node.inputs
    at, rank = node.attrs.get("axis", 0) % len(data.shape), len(index.shape)
    if at <= axis < at + rank:
        return of.evaluate(node, [of.of(data, None), of.of(index, axis - at)])
    return of.evaluate(node, [of.of(data, axis if axis < at else axis - rank + 1), of.of(index, None)])


def _slice(of: _Rows, node: Node, axis: int) -> np.ndarray | None:
    bounds = [[dims.fixed(dims.substitute(d, of.symbols)) for d in bound] for bound in slices(node)]
    first, count, step = bounds[axis]
    size = dims.fixed(dims.substitute(node.inputs[0].shape[axis], of.symbols))
    if (first, count, step) != (0, size, 1):
        return None
    cut = [slice(a, a + n * s if a + n * s >= 0 else None, s) for a, n, s in bounds]
    cut[axis] = slice(None)
    return of.of(node.inputs[0], axis)[tuple(cut)]


def _concat(of: _Rows, node: Node, axis: int) -> np.ndarray | None:
    if node.attrs["axis"] % len(node.output.shape) == axis:
        return None
    return of.evaluate(node, [of.of(v, axis) for v in node.inputs])


def _pad(of: _Rows, node: Node, axis: int) -> np.ndarray | None:
    """Restrict a Pad that adds nothing."""
    pads = node.inputs[1]
    nothing = isinstance(pads.const, np.ndarray) and not pads.array.any()
    return of.of(node.inputs[0], axis) if nothing else None


def _scatter_nd(of: _Rows, node: Node, axis: int) -> np.ndarray | None:
    """Restrict a ScatterND whose updates stay in their row: older exports write masks of padding in this way."""
    data, index, updates = node.inputs
    join = of.producer(index)
    rank = len(data.shape)
    if join is None or join.op != "Concat" or len(join.inputs) != rank or len(updates.shape) != rank:
        return None
    columns = [v for v in join.inputs if len(v.shape) == rank + 1 and v.shape[-1] == 1]
    if len(columns) < rank or node.attrs.get("reduction", "none") != "none" or not of.counts(columns[axis], axis):
        return None
    at = [of.of(v, axis)[..., 0] for v in columns]
    own = np.arange(at[axis].shape[axis]).reshape([-1 if i == axis else 1 for i in range(rank)])
    at[axis] = np.broadcast_to(own, at[axis].shape)
    result = of.of(data, axis).copy()
    result[tuple(at)] = of.of(updates, axis)
    return result


# What each operator reads for some rows of its result; None where a rule needs the whole.
RULES: dict[str, Callable[[_Rows, Node, int], np.ndarray | None]] = {
    **dict.fromkeys(ELEMENTWISE, _elementwise),
    "ConstantOfShape": _constant_of_shape,
    "Expand": _expand,
    "Reshape": _reshape,
    "Unsqueeze": _reshape,
    "Squeeze": _reshape,
    "Transpose": _transpose,
    "Gather": _gather,
    "Slice": _slice,
    "Concat": _concat,
    "Pad": _pad,
    "ScatterND": _scatter_nd,
}
