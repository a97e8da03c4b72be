"""Decides at compile time which values share a buffer, so that the runtime allocates every buffer once.

A slot is a whole buffer. WebGPU forbids a dispatch to read and write one buffer through two bindings, so a value that a
step writes never takes the slot of a value that the step reads.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

V = TypeVar("V", bound=Hashable)  # identifies a value


@dataclass(frozen=True)
class Use(Generic[V]):
    """The values that one step reads and writes."""

    reads: tuple[V, ...]
    writes: tuple[V, ...]


class Slots:
    """A pool of scratch buffers that programs share, one program at a time. `sizes`: bytes of each slot."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def assign(self, steps: Sequence[Use[V]], sizes: Mapping[V, int]) -> dict[V, int]:
        """Return the slot of each value in `sizes` (bytes), which it keeps from its first use to its last.

        The pool grows as needed. A value that is read before it is written has no elements.
        """
        last = {value: i for i, step in enumerate(steps) for value in (*step.reads, *step.writes)}
        free = set(range(len(self.sizes)))
        slots: dict[V, int] = {}
        for i, step in enumerate(steps):
            for value in (*step.reads, *step.writes):
                if value in sizes and value not in slots:
                    slots[value] = self._take(free, sizes[value])
            for value in {*step.reads, *step.writes}:
                if value in slots and last[value] == i:
                    free.add(slots[value])
        return slots

    def _take(self, free: set[int], size: int) -> int:
        """Take the smallest free slot that is large enough, else grow the largest free slot, else add one."""
        fitting = [s for s in free if self.sizes[s] >= size]
        if fitting:
            slot = min(fitting, key=lambda s: (self.sizes[s], s))
        elif free:
            slot = max(free, key=lambda s: (self.sizes[s], -s))
            self.sizes[slot] = size
        else:
            slot = len(self.sizes)
            self.sizes.append(size)
            return slot
        free.discard(slot)
        return slot
