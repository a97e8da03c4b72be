"""Progress: how long work reports what is done and how much there is."""

from __future__ import annotations

from collections.abc import Callable

# progress(what, done, total): the work, how much of it is done, and how much there is (0: unknown).
Progress = Callable[[str, int, int], None]


def silent(what: str, done: int, total: int) -> None:
    """Report nothing."""
