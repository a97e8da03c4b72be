"""Counts the bank conflicts of accesses to workgroup memory: lanes that want different words of one bank take turns.

What is assumed: workgroup memory has 32 banks of 4 bytes, and a warp has 32 lanes, in the order of their index.
Elements of 8 or 16 bytes are served to a half or a quarter of a warp at a time. Lanes that want the same word get it at
once.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from benchmarks.lines.count import Traced, element
from benchmarks.lines.trace import Access

BANKS, WORD, WARP = 32, 4, 32


@dataclass(frozen=True)
class Turns:
    """How often an array in workgroup memory is accessed, a part of a warp at a time, and the turns that this takes.

    most: the turns of the worst access, for one part of a warp.
    """

    array: str
    accesses: int
    turns: int
    most: int

    @property
    def average(self) -> float:
        """Turns of an access; 1 where there are no conflicts."""
        return self.turns / self.accesses if self.accesses else 1.0


def turns(of: Traced) -> list[Turns]:
    """The accesses of each array of numbers or vectors in workgroup memory; those of structures are left out."""
    sizes = {name: element(type) for name, type in of.shared.items()}
    return [_turns(name, of.accesses[name], size) for name, size in sizes.items() if size and of.accesses[name]]


def _turns(name: str, accesses: Iterable[Access], size: int) -> Turns:
    each = [n for access in accesses for n in _parts(access, size)]
    return Turns(name, len(each), sum(each), max(each, default=1))


def _parts(access: Access, size: int) -> Iterable[int]:
    """The turns of each part of a warp in which a lane is active."""
    words = max(size // WORD, 1)  # of an element
    lanes = WARP // words
    for first in range(0, access.active.size, lanes):
        part = slice(first, first + lanes)
        index = np.unique(access.index[part][access.active[part]])
        if index.size:
            own = np.unique((index * size // WORD)[:, None] + np.arange(words))
            yield int(np.bincount(own % BANKS).max())
