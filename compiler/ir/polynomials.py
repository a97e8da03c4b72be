"""Polynomials over symbols: a monomial is the sorted tuple of its factors, () is 1, and a polynomial maps monomials to
coefficients that are not 0."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from fractions import Fraction
from typing import Any, Protocol, TypeVar

_MOST_CORNERS = 6  # symbols of a polynomial whose bounds are searched


class Factor(Protocol):
    """A symbol: its name, and its smallest and largest value."""

    @property
    def name(self) -> str: ...

    @property
    def low(self) -> int: ...

    @property
    def high(self) -> int: ...

    def __lt__(self, other: Any, /) -> bool: ...


F = TypeVar("F", bound=Factor)
Number = TypeVar("Number", int, Fraction)


def added(a: dict[tuple[F, ...], Number], monomial: tuple[F, ...], c: Number) -> None:
    """Add a term to a polynomial, in place."""
    a[monomial] = a.get(monomial, type(c)(0)) + c
    if not a[monomial]:
        del a[monomial]


def product(a: Mapping[tuple[F, ...], int], b: Mapping[tuple[F, ...], int]) -> dict[tuple[F, ...], int]:
    result: dict[tuple[F, ...], int] = {}
    for (m, x), (n, y) in itertools.product(a.items(), b.items()):
        added(result, tuple(sorted((*m, *n))), x * y)
    return result


def quotient(a: Mapping[tuple[F, ...], int], b: Mapping[tuple[F, ...], int]) -> dict[tuple[F, ...], int] | None:
    """Return the exact quotient, by long division, or None if there is a rest."""
    rest, result = dict(a), {}
    first = max(b, key=_degree)
    while rest:
        leading = max(rest, key=_degree)
        left, (factor, over) = list(leading), divmod(rest[leading], b[first])
        for symbol in first:
            if symbol not in left:
                return None
            left.remove(symbol)
        if over:
            return None
        result[tuple(left)] = factor
        for monomial, c in b.items():
            added(rest, tuple(sorted((*left, *monomial))), -factor * c)
    return result


def least(a: Mapping[tuple[F, ...], Fraction]) -> int | None:
    """Return the smallest value, rounded up, if the polynomial is linear in each symbol; else None.

    It is reached at a corner of the ranges of the symbols.
    """
    symbols = sorted({s for m in a for s in m})
    if len(symbols) > _MOST_CORNERS or any(len(set(m)) < len(m) for m in a):
        return None
    corners = itertools.product(*((s.low, s.high) for s in symbols))
    values = (dict(zip(symbols, corner, strict=True)) for corner in corners)
    return math.ceil(min(sum(c * math.prod(v[s] for s in m) for m, c in a.items()) for v in values))


def _degree(monomial: tuple[F, ...]) -> tuple[int, list[str]]:
    return len(monomial), [s.name for s in monomial]
