"""The rows and sizes that decide what a mask computed from positions is, where all its numbers are too many.

A mask compares positions (of a query, of a key, the number of tokens) with each other, with constants and with the ends
of tables. Each comparison is of a sum or a difference of positions, so from one row to the next it moves by one key,
except where it begins or ceases to hold for any key. This happens at sums and differences of the constants, counted
from the first or from the last row. Between two such boundaries all rows are alike, so the rows on both sides of each
boundary decide. This does not hold for remainders, quotients and running sums, whose boundaries recur: these need all
rows.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Self

import numpy as np

from intaglio.compiler.ir import dims
from intaglio.compiler.ir.nodes import Node
from intaglio.compiler.ir.values import Value

_RECURRING = frozenset("Mod CumSum BitShift BitwiseAnd BitwiseOr BitwiseXor BitwiseNot Sin Cos Round".split())
_SMALL = 16  # elements of a constant whose elements are numbers to compare with; larger ones are tables
_MOST = 8  # constants whose sums are boundaries
_FIRST, _BETWEEN, _BESIDE = 8, 64, 2  # rows at the ends, between them, and on either side of a boundary


@dataclass(frozen=True)
class Boundaries:
    """constants: what positions are compared with. table: the rows of the longest table. recurring: see above."""

    constants: tuple[int, ...]
    table: int
    recurring: bool

    @classmethod
    def of(cls, nodes: Collection[Node], leaves: Iterable[Value]) -> Self:
        """Return the boundaries of a value that `nodes` compute from the constants `leaves`."""
        numbers, table = {0}, 0
        for array in (v.const for v in leaves if isinstance(v.const, np.ndarray)):
            if array.size > _SMALL:
                table = max(table, *array.shape)
            elif array.dtype == object:
                numbers |= {abs(d.constant) if isinstance(d, dims.Expr) else abs(int(d)) for d in array.reshape(-1)}
            elif array.dtype.kind in "iu":
                numbers |= set(np.abs(array.astype(np.int64)).reshape(-1).tolist())
        equal = {n.output for n in nodes if n.op == "ConstantOfShape"}  # their running sums are positions (ALiBi)
        recurring = any(_recurs(n) and not (n.op == "CumSum" and n.inputs[0] in equal) for n in nodes)
        apart = {n for n in numbers if n > _FIRST} | {0}
        return cls(tuple(sorted(apart)), table, recurring)

    def _sums(self, most: int) -> set[int]:
        """Return the sums and differences of two constants, from 0 to `most`."""
        near = [c for c in self.constants if c <= most]
        return {abs(a + sign * b) for a in near for b in near for sign in (1, -1)}

    def rows(self, count: int) -> np.ndarray:
        """Return the rows of `count` that decide, with the first and the last one."""
        sums = self._sums(count)
        if self.recurring or len(self.constants) > _MOST:
            return np.arange(count)
        edges = [np.arange(s - _BESIDE, s + _BESIDE + 1) for s in sums]
        ends = np.arange(max(_FIRST, self.table + _BESIDE))
        between = np.linspace(0, count - 1, _BETWEEN).astype(np.int64)
        first = np.concatenate([*edges, ends])
        index = np.concatenate([first, count - 1 - first, between])
        return np.unique(index[(index >= 0) & (index < count)])

    def sizes(self, low: int, high: int) -> set[int]:
        """Return the numbers of tokens from `low` to `high` on both sides of the boundaries."""
        sums = self._sums(high) if len(self.constants) <= _MOST else set()
        return {size for s in sums for size in (s - 1, s, s + 1) if low <= size <= high}


def _recurs(node: Node) -> bool:
    return node.op in _RECURRING or (node.op == "Div" and node.output.dtype in ("i64", "i32"))
