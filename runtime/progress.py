"""Progress: how long work reports how far it is, to whoever asked for it."""

from __future__ import annotations

from collections.abc import Callable

# progress(what, done, total): the work, and how much of how much is done. A total of 0 is unknown.
Progress = Callable[[str, int, int], None]


def silent(what: str, done: int, total: int) -> None:
    """Report to nobody."""
