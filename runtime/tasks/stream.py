"""Results that arrive piece by piece: those of a text as it is written, and of a recording as it is heard."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager
from typing import Any, Generic, TypeVar

Part = TypeVar("Part")
Whole = TypeVar("Whole")


class Stream(Iterator[Part], Generic[Part, Whole]):
    """An iterator over pieces. `result` is the whole after the last piece, and None before.

    The session is locked only while a piece is made, so a stream may be dropped at any time.
    """

    def __init__(self, pieces: Generator[Part, None, Whole], lock: AbstractContextManager[Any]) -> None:
        self._pieces, self._lock = pieces, lock
        self.result: Whole | None = None

    def __next__(self) -> Part:
        with self._lock:
            try:
                return next(self._pieces)
            except StopIteration as stop:
                self.result = stop.value or self.result
                raise

    def close(self) -> None:
        """End here. No piece follows."""
        with self._lock:
            self._pieces.close()

    def finish(self) -> Whole:
        """Make the remaining pieces with the session locked. Returns the whole."""
        with self._lock:
            for _ in self:
                pass
        if self.result is None:
            raise RuntimeError("the work was interrupted; begin it again")
        return self.result
