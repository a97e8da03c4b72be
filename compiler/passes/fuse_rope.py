"""Replace the inputs of attention by token rows, rotated by one operator (RoPE) where needed, and split into heads.

Exporters write rotary embeddings (Su et al. 2021), repeated heads and fused projections in too many ways for patterns.
All of them are linear in the token rows and, at a given position, the same for each token. The pass therefore evaluates
them on a few inputs. Nothing is rotated at position 0, so the result there shows which columns become which heads. The
results at all positions give the tables of cosines and sines. The pass then compares both forms on random rows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from intaglio.compiler.ir import dims
from intaglio.compiler.ir.dims import Dim, Symbol, dim
from intaglio.compiler.ir.errors import BadModel
from intaglio.compiler.ir.graph import Graph
from intaglio.compiler.ir.nodes import Node
from intaglio.compiler.ir.operators import Linear, Rotary
from intaglio.compiler.ir.values import Value, known
from intaglio.compiler.passes.fold import identity
from intaglio.compiler.passes.positions import data_free
from intaglio.compiler.rewrite import provenance, views
from intaglio.compiler.rewrite.builder import GraphBuilder
from intaglio.compiler.rewrite.elementwise_chains import chain_source, rounding
from intaglio.compiler.rewrite.views import VIEWS
from intaglio.compiler.semantics import evaluate, operators

_LINEAR = VIEWS | set("Slice Concat Gather Cast Identity Mul Div Add Sub Neg".split())
_PRODUCTS = frozenset({"Mul", "Div"})  # linear as long as only one operand depends on the rows
_SIZES = (1, 3, 5)
_PART = 4096  # positions that are evaluated at a time


def fuse_rope(graph: Graph) -> int:
    """Rewrite the operands of attention; return the number of rewritten operands."""
    free = data_free(graph)
    operands: dict[Value, list[_Operand]] = {}  # of all layers, before a rewrite changes the order of the graph
    for node in graph.nodes:
        if node.op == "MatMul" and all(v.const is None and len(v.shape) == 4 for v in node.inputs):
            for value in node.inputs:
                before = _before_roundings(graph, value)
                whole, after_gains = (_operand(graph, before, free, scaled) for scaled in (True, False))
                operands[before] = [operand for operand in (whole, after_gains) if operand is not None]
    understood: dict[object, _Heads | None] = {}
    shared: dict[object, Value] = {}
    changed = 0
    for candidates in operands.values():
        for operand in candidates:
            key = operand.signature
            if key not in understood:
                understood[key] = _understand(operand)
            if (heads := understood[key]) is not None:
                _rewrite(operand, heads, shared)
                changed += 1
                break
    graph.prune()
    return changed


def _before_roundings(graph: Graph, value: Value) -> Value:
    """Return the value before the roundings of an operand of attention, or the operand if it is not rounded."""
    source, _ = views.source(graph, value)
    unrounded, chain = chain_source(graph, source)
    return unrounded if any(map(rounding, chain)) else value


@dataclass(frozen=True)
class _Operand:
    """An operand of attention, [1, heads, T, head_dim] or with the last two axes swapped, as a function of `source`."""

    graph: Graph
    value: Value
    source: Value
    tokens: Symbol
    nodes: list[Node]

    @property
    def swapped(self) -> bool:
        return self.value.shape[-1] == dim(self.tokens)

    @property
    def axis(self) -> int:
        """The token axis of the source."""
        return self.source.shape.index(dim(self.tokens))

    @property
    def width(self) -> int:
        """The number of columns of a token's row."""
        return math.prod(d for d in self.source.shape if isinstance(d, int))

    @property
    def signature(self) -> object:
        """A key that is equal for operands that are computed in the same way, such as those of different layers."""
        names: dict[Value, object] = {self.source: "source"}
        listed = []
        for i, node in enumerate(self.nodes):
            inputs = [names.get(v, identity(v)) if v is not None else None for v in node.inputs]
            listed.append((node.computes, tuple(inputs)))
            names |= {v: (i, k) for k, v in enumerate(node.outputs)}
        return tuple(listed), self.source.shape, self.value.shape

    def heads(self, rows: np.ndarray) -> np.ndarray:
        """Evaluate the graph on rows [T, width]; return [heads, T, head_dim]."""
        return self._evaluated(rows, self.nodes, {})

    def _evaluated(self, rows: np.ndarray, nodes: list[Node], values: Mapping[Value, np.ndarray]) -> np.ndarray:
        """Evaluate the last `nodes` on rows [T, width]. values: the results of the other nodes."""
        shape = [d for i, d in enumerate(self.source.shape) if i != self.axis]
        x = np.moveaxis(rows.astype(np.float32).reshape(len(rows), *shape), 0, self.axis)
        sizes = {self.tokens.name: len(rows)}
        y = evaluate.compute(self.graph, nodes, {self.source: x, **values}, sizes, keep=(self.value,))[self.value][0]
        return y.swapaxes(-1, -2) if self.swapped else y

    def first_head(self, row: np.ndarray) -> np.ndarray:
        """Return the first head [T, head_dim] of a row [width] that is the same at all positions of the longest text.

        The rows of all positions may not fit memory, so they are evaluated in parts where the positions' own values
        have a token axis to take a part of.
        """
        longest, by_position = self.tokens.high, self._by_position()
        axes = {v: [i for i, d in enumerate(v.shape) if self.tokens in dims.symbols(d)] for v in by_position}
        if longest <= _PART or any(len(a) != 1 or v.shape[a[0]] != dim(self.tokens) for v, a in axes.items()):
            return self.heads(np.broadcast_to(row, (longest, self.width)))[0]
        parts = []
        for first in range(0, longest, _PART):
            span = range(first, min(first + _PART, longest))
            values = {v: np.take(array, span, axes[v][0]) for v, array in by_position.items()}
            rows = np.broadcast_to(row, (len(span), self.width))
            parts.append(self._evaluated(rows, self._of_rows, values)[0].copy())
        return np.concatenate(parts)

    @property
    def _of_rows(self) -> list[Node]:
        """The nodes that depend on the rows."""
        dependent = {self.source}
        nodes = []
        for node in self.nodes:
            if not dependent.isdisjoint(node.reads):
                nodes.append(node)
                dependent.update(node.outputs)
        return nodes

    def _by_position(self) -> dict[Value, np.ndarray]:
        """Return what these nodes read that depends on positions alone, for the longest text."""
        nodes = self._of_rows
        before = [n for n in self.nodes if n not in set(nodes)]
        read = {v for n in nodes for v in n.reads if v is not None and self.graph.producer(v) in before}
        sizes = {self.tokens.name: self.tokens.high}
        results = evaluate.compute(self.graph, before, {}, sizes, keep=read)
        return {v: results[v] for v in read}


def _operand(graph: Graph, value: Value, free: set[Node], scaled: bool) -> _Operand | None:
    """Return the operand, or None if it is not a linear function of token rows or already has the plain form.

    scaled: whether a product with a constant for each column (the scale of a norm of heads) is part of the function.
    """
    sources: set[Value] = set()
    todo = [value]
    while todo:
        v = todo.pop()
        node = graph.producer(v)
        inputs = [] if node is None else [x for x in node.inputs if x is not None and x.const is None]
        data = [x for x in inputs if graph.producer(x) not in free]
        gain = not scaled and node is not None and node.op == "Mul" and _has_gain(node)
        if node is None or gain or node.op not in _LINEAR or (node.op in _PRODUCTS and len(data) > 1):
            sources.add(v)
        else:
            todo += data
    symbols = value.type.symbols
    if len(sources) != 1 or len(symbols) != 1 or value in sources:
        return None
    (source,), (tokens,) = sources, symbols
    nodes = graph.ancestors(value, stop=sources)
    plain = len(source.shape) == 3 and all(node.op in VIEWS for node in nodes)
    by_token = [d for d in source.shape if not isinstance(d, int)] == [dim(tokens)]
    if plain or not by_token or value.shape[0] != 1 or dim(tokens) not in value.shape[2:]:
        return None
    return _Operand(graph, value, source, tokens, nodes)


def _has_gain(node: Node) -> bool:
    return any(v.const is not None and v.scalar is None for v in node.inputs)


@dataclass(frozen=True)
class _Heads:
    """The operation on token rows: each head has the columns `columns[i]`, rotated, and occurs `repeats` times.

    tables: cosines and sines, both f32[positions, pairs]; None if nothing is rotated. interleaved: each column
    forms a pair with the next one, otherwise with the column `pairs` columns later.
    """

    columns: np.ndarray
    repeats: int
    tables: tuple[np.ndarray, np.ndarray] | None = None
    interleaved: bool = False

    @property
    def rotation(self) -> object:
        """A key that is equal if the same columns are rotated in the same way."""
        tables = tuple(table.tobytes() for table in self.tables or ())
        return self.columns.tobytes(), self.columns.shape, tables, self.interleaved

    def of(self, rows: np.ndarray) -> np.ndarray:
        """Apply the operation to rows [T, width]; return [heads, T, head_dim]."""
        x = rows[:, self.columns].swapaxes(0, 1)
        if self.tables is not None:
            cos, sin = (table[: len(rows)] for table in self.tables)
            x = operators.rotated(x, cos, sin, self.interleaved)
        return np.repeat(x, self.repeats, axis=0)


def _understand(operand: _Operand) -> _Heads | None:
    """Return what an operand does, or None if it does something else or depends on more than a token's position."""
    columns = _columns(operand)
    if columns is None:
        return None
    groups = len(columns) // len(np.unique(columns, axis=0))
    heads = _Heads(columns[::groups], groups)
    heads = _rotation(operand, heads) or heads
    random = np.random.default_rng(0)
    for size in _SIZES:
        rows = random.standard_normal((min(size, operand.tokens.high), operand.width)).astype(np.float32)
        actual, expected = operand.heads(rows), heads.of(rows)
        if actual.shape != expected.shape or not np.allclose(actual, expected, rtol=1e-5, atol=1e-5):
            return None
    return heads


def _columns(operand: _Operand) -> np.ndarray | None:
    """Return the columns of a row for each head, [heads, head_dim], from position 0, where nothing is rotated."""
    numbers = np.arange(operand.width, dtype=np.float32)[None]
    scale, scaled = (operand.heads(rows)[:, 0] for rows in (np.ones_like(numbers), numbers))
    if not scale.all():
        return None
    columns = np.rint(scaled / scale)
    return columns.astype(np.int64) if (columns >= 0).all() and (columns < operand.width).all() else None


def _rotation(operand: _Operand, plain: _Heads) -> _Heads | None:
    """Return the heads with tables of cosines and sines, which are what a 1 in the first column of a pair becomes."""
    head_dim = plain.columns.shape[1]

    def rotate(chosen: np.ndarray, size: int) -> np.ndarray:
        rows = np.zeros((size, operand.width), np.float32)
        rows[:, plain.columns[:, chosen]] = 1
        return operand.heads(rows)[0]

    reached = np.flatnonzero(rotate(np.array([0]), min(max(_SIZES), operand.tokens.high)).any(0))
    if len(reached) != 2 or reached[0] != 0 or head_dim % 2:
        return None
    apart, interleaved = int(reached[1]), reached[1] == 1
    first = np.arange(0, head_dim, 2) if interleaved else np.arange(apart)
    row = np.zeros(operand.width, np.float32)
    row[plain.columns[:, first]] = 1
    try:
        table = operand.first_head(row)
    except BadModel:  # a table of the file ends before the longest text
        return None
    cos, sin = table[:, first], table[:, first + apart]
    rotated = np.flatnonzero((cos != 1).any(0) | (sin != 0).any(0))
    pairs = rotated.max(initial=0) + 1 if interleaved else apart
    cos, sin = (np.ascontiguousarray(t[:, :pairs]) for t in (cos, sin))
    return _Heads(plain.columns, plain.repeats, (cos, sin), bool(interleaved))


def _rewrite(operand: _Operand, heads: _Heads, shared: dict[object, Value]) -> None:
    """Replace an operand. `shared` holds the tables by content, and the rotated rows that several operands read."""
    graph, value, tokens = operand.graph, operand.value, dim(operand.tokens)
    sources = tuple(dict.fromkeys(s for node in operand.nodes for s in node.sources))
    builder = GraphBuilder(graph, graph.expect_producer(value), sources)
    kv_heads, head_dim = heads.columns.shape
    rows = (operand.source, heads.rotation)
    x = shared.get(rows) or shared.setdefault(rows, _rotated(builder, operand, heads, shared))
    x = builder.Transpose(_shaped(builder, x, 1, tokens, kv_heads, head_dim), perm=[0, 2, 1, 3])
    if heads.repeats > 1:
        shape = (1, kv_heads, heads.repeats, tokens, head_dim)
        each = _shaped(builder, x, 1, kv_heads, 1, tokens, head_dim)
        repeated = builder.Expand(each, builder.constant(known(shape, (5,))))
        x = _shaped(builder, repeated, 1, kv_heads * heads.repeats, tokens, head_dim)
    builder.rebind(value, builder.Transpose(x, perm=[0, 1, 3, 2]) if operand.swapped else x)


def _rotated(builder: GraphBuilder, operand: _Operand, heads: _Heads, shared: dict[object, Value]) -> Value:
    """Return the token rows [1, T, columns] of all heads side by side, rotated if there are tables."""
    x = _selected(builder, operand, heads.columns.reshape(-1))
    if heads.tables is None:
        return x
    named = zip(("cos", "sin"), heads.tables, strict=True)
    cos, sin = (shared.setdefault(t.tobytes(), builder.constant(t, f"rotary.{name}")) for name, t in named)
    return builder.add(Rotary(cos, sin, (x,), heads=(len(heads.columns),), interleaved=heads.interleaved, past=0))


def _shaped(builder: GraphBuilder, x: Value, *shape: Dim) -> Value:
    return builder.Reshape(x, builder.constant(known(shape, (len(shape),))), allowzero=1)


def _selected(builder: GraphBuilder, operand: _Operand, columns: np.ndarray) -> Value:
    """Return these columns of the source as token rows [1, T, columns]. A linear layer computes only these columns."""
    graph, source = operand.graph, operand.source
    maker = graph.producer(source)
    whole = np.array_equal(columns, np.arange(operand.width))
    layer = Linear.of(maker)
    if not whole and layer is not None and layer.is_plain:
        bias = None if layer.bias is None else _some_rows(builder, layer.bias, columns)
        selection = builder.add(Linear(layer.x, _some_rows(builder, layer.weight, columns), bias))
        selection.origin = provenance.columns(source.origin, columns)
        return selection
    axes = [operand.axis, *(i for i in range(len(source.shape)) if i != operand.axis)]
    rows = _shaped(builder, builder.Transpose(source, perm=axes), 1, dim(operand.tokens), operand.width)
    return rows if whole else builder.Gather(rows, builder.constant(columns), axis=2)


def _some_rows(builder: GraphBuilder, weight: Value, rows: np.ndarray) -> Value:
    if ends := provenance.ends(rows):
        first, end = ends
        return builder.constant(weight.numbers[first:end], f"{weight.name}[{first}:{end}]")
    return builder.constant(weight.numbers[rows], f"{weight.name}[...]")
