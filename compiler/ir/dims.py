"""Dimensions: an int, or a linear expression over symbols such as past+new_tokens.

The shapes of a transformer need only linear expressions, and these are decidable. Expressions with the same value are
equal objects, and a comparison is true if it is true over the whole declared range of every symbol.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Mapping
from dataclasses import dataclass

from intaglio.runtime.contract import FREE


@dataclass(frozen=True, order=True)
class Symbol:
    """A run-time size, with the range (inclusive) that the compiled program accepts."""

    name: str
    low: int = 1
    high: int = 65_535

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Expr:
    """`sum(coefficient * symbol) + constant`; `dim` and the operators make it, so it is always in normal form."""

    terms: tuple[tuple[Symbol, int], ...]
    constant: int = 0

    @property
    def low(self) -> int:
        return self.constant + sum(c * (s.low if c > 0 else s.high) for s, c in self.terms)

    @property
    def high(self) -> int:
        return self.constant + sum(c * (s.high if c > 0 else s.low) for s, c in self.terms)

    def __add__(self, other: Dim) -> Dim:
        if not isinstance(other, Expr):
            return Expr(self.terms, self.constant + operator.index(other))
        coefficients = dict(self.terms)
        for symbol, c in other.terms:
            coefficients[symbol] = coefficients.get(symbol, 0) + c
        return _normal(coefficients, self.constant + other.constant)

    def __mul__(self, other: Dim) -> Dim:
        if isinstance(other, Expr):
            raise NotLinear(f"the product ({plain(self)}) * ({plain(other)}) of dynamic sizes")
        factor = operator.index(other)
        return _normal({s: c * factor for s, c in self.terms}, self.constant * factor)

    def __floordiv__(self, other: Dim) -> Dim:
        if self == other:
            return 1
        if isinstance(other, Expr) or other == 0 or any(c % other for _, c in self.terms) or self.constant % other:
            raise NotLinear(f"the quotient ({plain(self)}) / ({plain(other)})")
        return _normal({s: c // other for s, c in self.terms}, self.constant // other)

    def __rfloordiv__(self, other: int) -> Dim:
        raise NotLinear(f"the quotient {other} / ({plain(self)})")

    def __neg__(self) -> Dim:
        return self * -1

    def __sub__(self, other: Dim) -> Dim:
        return self + -other

    def __rsub__(self, other: int) -> Dim:
        return -self + other

    __radd__ = __add__
    __rmul__ = __mul__

    def __str__(self) -> str:
        text = ""
        for symbol, c in self.terms:
            text += ("-" if c < 0 else "+" if text else "") + (f"{abs(c)}*" if abs(c) != 1 else "") + symbol.name
        return text + (f"{self.constant:+d}" if self.constant else "")

    __repr__ = __str__


Dim = int | Expr


class NotLinear(ArithmeticError):
    """The result of an operation on dimensions is not a linear expression."""


def _normal(coefficients: Mapping[Symbol, int], constant: int) -> Dim:
    terms = tuple(sorted((s, c) for s, c in coefficients.items() if c))
    return Expr(terms, constant) if terms else constant


def dim(symbol: Symbol) -> Expr:
    """Return the dimension that equals `symbol`."""
    return Expr(((symbol, 1),))


def plain(d: Dim) -> str:
    """Return `d` as text with the user's own names, for errors."""
    return re.sub(rf"\b{FREE}", "", str(d))


def low(d: Dim) -> int:
    """Return the smallest value that `d` can take."""
    return d.low if isinstance(d, Expr) else int(d)


def high(d: Dim) -> int:
    """Return the largest value that `d` can take."""
    return d.high if isinstance(d, Expr) else int(d)


def fixed(d: Dim) -> int:
    """Return `d` as an int. Raises NotLinear if it depends on a symbol."""
    if isinstance(d, Expr):
        raise NotLinear(f"the dynamic size {plain(d)}")
    return int(d)


def divides(n: int, d: Dim) -> bool:
    """Return whether `d` is a multiple of `n` for every value of the symbols."""
    if isinstance(d, Expr):
        return d.constant % n == 0 and all(c % n == 0 for _, c in d.terms)
    return d % n == 0


def less(a: Dim, b: Dim) -> bool | None:
    """Return whether a < b, or None if the answer depends on the values of the symbols."""
    difference = b - a
    return True if low(difference) > 0 else False if high(difference) <= 0 else None


def same(a: Dim, b: Dim) -> bool | None:
    """Return whether a == b, or None if the answer depends on the values of the symbols."""
    difference = a - b
    if not isinstance(difference, Expr):
        return difference == 0
    return False if low(difference) > 0 or high(difference) < 0 else None


def product(dims: tuple[Dim, ...]) -> Dim:
    """Return the number of elements of a shape. Raises NotLinear if two symbols are multiplied."""
    size: Dim = 1
    for d in dims:
        size = size * d
    return size


def substitute(d: Dim, values: Mapping[str, Dim]) -> Dim:
    """Return `d` with symbols replaced by name."""
    if not isinstance(d, Expr):
        return int(d)
    total: Dim = d.constant
    for symbol, c in d.terms:
        total = total + values.get(symbol.name, dim(symbol)) * c
    return total


def symbols(d: Dim) -> tuple[Symbol, ...]:
    """Return the symbols that occur in `d`."""
    return tuple(s for s, _ in d.terms) if isinstance(d, Expr) else ()
