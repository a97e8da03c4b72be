"""The sizes that a model can take: one, or a range. They are found by trial from one that the model takes.

A size that a convolution, a branch or a fixed weight limits on both sides need not be given by the user.
"""

from __future__ import annotations

from collections.abc import Callable

from intaglio.compiler.reader.free_sizes import MAX_UNBOUND

Works = Callable[[int | range], bool]  # whether the model compiles with a size, or with every size of a range


def is_alone(works: Works, size: int) -> bool:
    """Return whether the sizes beside `size`, and its multiples and parts, are not possible."""
    return not any(works(n) for n in (size - 1, size + 1, size * 2, size * 4, size * 8, size // 2) if n >= 1)


def possible(works: Works, size: int) -> range | None:
    """Return the range of all sizes that the model can take, or None if the user must choose.

    size: one that the model takes.
    """
    low, high = _end(size, 1, works), _end(size, MAX_UNBOUND, works)
    return range(low, high + 1) if low < high and works(range(low, high + 1)) else None


def _end(inside: int, outside: int, works: Callable[[int], bool]) -> int:
    """Return the last size that works on the way from `inside`, which works, to `outside`."""
    if works(outside):
        return outside
    while abs(outside - inside) > 1:
        middle = (inside + outside) // 2
        inside, outside = (middle, outside) if works(middle) else (inside, middle)
    return inside
