"""What a mask hides from attention and what it adds to scores, if it is computed from sizes alone.

The mask is evaluated for several sizes, and of a large mask only the rows that decide (see boundaries.py). A query must
see the keys up to its own or up to a number of keys after it, perhaps within a window. What the mask adds there must
depend only on the head and either on the key or on the key's distance from the query.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from intaglio.compiler.ir import dims
from intaglio.compiler.ir.dims import Dim, Symbol
from intaglio.compiler.ir.graph import Graph
from intaglio.compiler.ir.nodes import Node
from intaglio.compiler.ir.operators import PositionBias
from intaglio.compiler.ir.values import Value
from intaglio.compiler.passes.boundaries import Boundaries
from intaglio.compiler.passes.fold import identity
from intaglio.compiler.semantics.rows import rows

_VISIBLE, _HIDDEN = 1e-6, -1e4  # an additive mask is 0 for visible keys and very negative for hidden keys
_LOWEST = -1e30  # a mask with lower numbers hides only by these, because a bias may be below -1e4
_PRECISION = 1e-6  # relative to the largest number of a bias
_SIZES = (1, 2, 3, 7)
_LARGEST = 1 << 17  # the longest sequence that a mask is evaluated for
_WHOLE = 1 << 24  # up to this many numbers are evaluated at a time; of larger masks, the rows that decide
_MOST = 1 << 30  # numbers that are evaluated in all

Attributes = dict[str, Any] | None
_masks: WeakKeyDictionary[Graph, dict[object, Attributes]] = WeakKeyDictionary()  # by computation and sizes


def explained(graph: Graph, mask: Value, heads: int, queries: Dim, keys: Dim, exact: bool = False) -> Attributes:
    """Return a mask [.., queries, keys] as attributes of Attention, or None if attributes cannot express it.

    past: query t sees no key after past + t, its own key or one that lies a fixed number of keys ahead; None if the
    mask hides nothing and adds nothing. window: the number of keys up to past + t that query t sees, if limited. bias:
    a PositionBias, if the mask adds something. A bias may differ from the mask by a number for each query, which a
    softmax ignores, unless it must be `exact`. Results are cached, because layers have equal masks.
    """
    if not mask.shape:
        return None  # one number has no rows
    nodes = graph.ancestors(mask)
    leaves = {v for n in nodes for v in n.inputs if v is not None and graph.producer(v) is None}
    if any(v.const is None for v in (leaves if nodes else {mask})):
        return None
    results = _masks.setdefault(graph, {})
    key = _computation(nodes, mask), heads, queries, keys, exact
    if key not in results:
        values = {mask, *leaves, *(v for n in nodes for v in n.outputs)}
        symbols = {s for v in values for s in v.type.symbols} | {*dims.symbols(queries), *dims.symbols(keys)}
        samples = _samples(graph, mask, sorted(symbols), queries, keys, Boundaries.of(nodes, {mask, *leaves}))
        too_large = any(s.high > _LARGEST for s in symbols)
        try:
            results[key] = None if too_large else _attributes(graph, samples, heads, exact)
        except _TooManyError:
            results[key] = None
    result = results[key]
    return result if result is None or result["past"] is None else result | {"past": result["past"] + keys - queries}


def _computation(nodes: list[Node], value: Value) -> object:
    """Return a key that is equal for values that are computed in the same way from the same constants."""
    places = {v: (i, k) for i, node in enumerate(nodes) for k, v in enumerate(node.outputs)}

    def name(v: Value | None) -> object:
        key = places.get(v, identity(v)) if v is not None else None
        return v if key == id(v) else key  # the value itself, because the id of a deleted value may occur again

    return tuple((n.computes, tuple(map(name, n.inputs))) for n in nodes), name(value)


@dataclass(frozen=True)
class _Sample:
    """Some rows of a mask for one set of sizes: numbers [heads, rows, keys], bool or f32.

    own: for each row, the key at the query's own position.
    """

    numbers: np.ndarray
    own: np.ndarray

    @property
    def hidden(self) -> np.ndarray:
        if self.numbers.dtype == bool:
            return ~self.numbers
        return self.numbers < (_LOWEST if self.numbers.min(initial=0) < _LOWEST else _HIDDEN)

    @property
    def added(self) -> np.ndarray:
        """The numbers that are added to the scores of visible keys."""
        return np.where(self.hidden | (self.numbers.dtype == bool), 0, self.numbers).astype(np.float32)

    def range(self) -> tuple[int, int | None]:
        """Return how many keys after its own one a query sees, and how many keys up to there; None if all.

        The first row shows the keys that lie ahead, the last row those before.
        """
        first, last = (np.flatnonzero(~self.hidden[-1, row]) for row in (0, -1))
        if not first.size or not last.size:
            return 0, None
        ahead = max(0, int(first[-1] - self.own[0]))
        return ahead, int(self.own[-1] + ahead - last[0] + 1) if last[0] else None

    def seen(self, ahead: int, window: int | None) -> np.ndarray:
        """Return what a mask with such a range leaves visible, bool[rows, keys]."""
        key, last = np.arange(self.numbers.shape[-1]), self.own[:, None] + ahead
        return (key <= last) & (key > last - window) if window is not None else key <= last

    def places(self, by: str, ahead: int) -> np.ndarray:
        """Return the columns of a position bias, [rows, keys]."""
        keys = np.arange(self.numbers.shape[-1])[None]
        return np.maximum(self.own[:, None] + ahead - keys, 0) if by == "distance" else keys

    def by_distance(self, ahead: int) -> np.ndarray:
        """Return what is added to keys by their distance from the last key that a query may see, [heads, distances]."""
        after = self.own[0] + 1
        first, last = self.added[:, 0, after : after + ahead], self.added[:, -1]
        return np.concatenate([first[:, ::-1], last[:, ::-1]], axis=1)


class _TooManyError(Exception):
    """The rows that decide have more numbers than are evaluated."""


def _samples(
    graph: Graph, mask: Value, symbols: list[Symbol], queries: Dim, keys: Dim, boundaries: Boundaries
) -> Iterator[_Sample]:
    """Yield samples of a mask, those of the largest sizes first. Each has the first and the last row."""
    beside = boundaries.sizes(symbols[0].low, symbols[0].high) if len(symbols) == 1 else set()
    ranges = (sorted({s.high, *beside, *(n for n in _SIZES if s.low <= n < s.high)}, reverse=True) for s in symbols)
    for sizes in itertools.product(*ranges):
        env = {s.name: size for s, size in zip(symbols, sizes, strict=True)}
        count, width = (dims.fixed(dims.substitute(d, env)) for d in (queries, keys))
        shape = [dims.fixed(dims.substitute(d, env)) for d in mask.shape]
        by_row = len(shape) > 1 and shape[-2] == count
        each = max(1, int(np.prod(shape[:-2]))) * width  # numbers in a row
        index = np.arange(count) if count * each <= _WHOLE else boundaries.rows(count)
        if len(index) * each > _MOST:
            raise _TooManyError
        for block in np.array_split(index, max(1, -(-len(index) * each // _WHOLE))):
            chosen = np.unique(np.concatenate([index[:1], block, index[-1:]]))
            numbers = rows(graph, mask, len(shape) - 2 if by_row else 0, chosen if by_row else np.arange(shape[0]), env)
            numbers = np.broadcast_to(numbers, (*numbers.shape[:-2], len(chosen), width))
            if numbers.size:
                yield _Sample(numbers.reshape(-1, len(chosen), width), chosen + width - count)


def _attributes(graph: Graph, samples: Iterator[_Sample], heads: int, exact: bool) -> Attributes:
    first = next(samples)
    ahead, window = first.range()
    biases = _biases(first, heads, ahead, window is None, exact)
    plain, everywhere = True, True
    for sample in itertools.chain([first], samples):
        everywhere = everywhere and not sample.hidden.any()
        plain = plain and bool((np.abs(sample.added) <= _VISIBLE).all())
        biases = [] if plain else [bias for bias in biases if bias.fits(sample)]
        if (sample.hidden == sample.seen(ahead, window)).any() or not (plain or biases):
            return None
    limit = {"window": window} if window is not None else {}
    if plain:
        return {"past": None} if everywhere else {"past": ahead} | limit
    table = biases[0].table
    constant = graph.constant(np.broadcast_to(table, (heads, table.shape[1])).copy(), "position_bias")
    return {"past": ahead, "bias": PositionBias(constant, biases[0].by)} | limit


@dataclass(frozen=True)
class _Bias:
    """A possible bias: table f32[heads or 1, positions], for queries that see `ahead` keys after their own one.

    free: it may differ by a number for each query.
    """

    table: np.ndarray
    by: str
    ahead: int
    free: bool = False

    def fits(self, sample: _Sample) -> bool:
        """Return whether the mask adds this bias."""
        added, hidden = sample.added, sample.hidden
        differences = added - self.table[:, sample.places(self.by, self.ahead)]
        if self.free:
            differences = differences - np.take_along_axis(differences, sample.own[None, :, None], axis=-1)
        allowed = _PRECISION * max(1, float(np.abs(added).max()))
        return bool((np.abs(differences) <= allowed)[np.broadcast_to(~hidden, differences.shape)].all())


def _biases(longest: _Sample, heads: int, ahead: int, whole: bool, exact: bool) -> list[_Bias]:
    """Return the biases that fit the first and the last row of the longest sample, the most exact first.

    whole: whether the last row shows all keys; otherwise it does not tell what other keys have.
    """
    by_key = longest.added[:, -1]
    if len(by_key) not in (1, heads):
        return []
    biases = [_Bias(by_key, "key", ahead)] if whole else []
    if longest.own[0] < 0:  # there are fewer keys than queries
        return biases
    by_distance = longest.by_distance(ahead)
    free = [] if exact else [_Bias(by_distance - by_distance[:, [ahead]], "distance", ahead, free=True)]
    return [*biases, _Bias(by_distance, "distance", ahead), *free]
