"""Dimensions: an int, or a linear expression over symbols such as past+new_tokens.

A quotient that is rounded down, and a product of symbols, is a symbol of its own, with the rule that it follows. Their
normal forms make expressions with the same value equal objects as far as that can be decided: (n-9)/4+1 is (n+3)/4-2,
and (n/2)/3 is n/6. A comparison is true if it is true over the whole declared range of every symbol.
"""

from __future__ import annotations

import hashlib
import math
import operator
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cache

from intaglio.compiler.ir import polynomials
from intaglio.runtime.contract import FREE

_LONGEST = 60  # characters of the name of a derived symbol
_UNKNOWN = -(1 << 63)  # a bound that says nothing


@dataclass(frozen=True)
class Rule:
    """What a derived symbol is: floor(product(of) / per)."""

    of: tuple[Expr, ...]
    per: int = 1


@dataclass(frozen=True)
class Symbol:
    """A run-time size, with the range (inclusive) that the compiled program accepts. rule: it follows from others."""

    name: str
    low: int = 1
    high: int = 65_535
    rule: Rule | None = None

    @property
    def factors(self) -> tuple[Symbol, ...]:
        """The symbols whose product this is; itself if it is not a product."""
        if self.rule is None or len(self.rule.of) == 1:
            return (self,)
        return tuple(of.terms[0][0] for of in self.rule.of)

    @property
    def depth(self) -> int:
        """How many rules lead to the symbols that it follows from."""
        parts = [s for of in (self.rule.of if self.rule else ()) for s, _ in of.terms]
        return 1 + max(s.depth for s in parts) if parts else 0

    def __lt__(self, other: Symbol) -> bool:
        return (self.name, self.low, self.high) < (other.name, other.low, other.high)

    def __str__(self) -> str:
        """The name, or the rule as a person would write it: floor((n+3)/4)."""
        if self.rule is None:
            return self.name
        of = "*".join(map(str, self.rule.of))
        return of if self.rule.per == 1 else f"floor({of if of.isidentifier() else f'({of})'}/{self.rule.per})"


@dataclass(frozen=True)
class Expr:
    """`sum(coefficient * symbol) + constant`; `dim` and the operators make it, so it is always in normal form."""

    terms: tuple[tuple[Symbol, int], ...]
    constant: int = 0

    @property
    def low(self) -> int:
        least, _ = _by_term(self)
        return max(least, _bound(self)) if self.correlated else least

    @property
    def high(self) -> int:
        _, most = _by_term(self)
        return min(most, -_bound(-self)) if self.correlated else most

    @property
    def correlated(self) -> bool:
        """Whether terms may not reach their bounds together: one follows from another and they differ in sign."""
        signs = {c > 0 for _, c in self.terms}
        return len(signs) > 1 and any(s.rule for s, _ in self.terms)

    def __add__(self, other: Dim) -> Dim:
        if not isinstance(other, Expr):
            return Expr(self.terms, self.constant + operator.index(other))
        coefficients = dict(self.terms)
        for symbol, c in other.terms:
            coefficients[symbol] = coefficients.get(symbol, 0) + c
        return _normal(coefficients, self.constant + other.constant)

    def __mul__(self, other: Dim) -> Dim:
        if isinstance(other, Expr):
            return _multiplied(self, other)
        factor = operator.index(other)
        return _normal({s: c * factor for s, c in self.terms}, self.constant * factor)

    def __floordiv__(self, other: Dim) -> Dim:
        """The exact quotient. Raises NotLinear if the division leaves a rest, or may leave one."""
        if isinstance(other, Expr):
            return _divided(self, other)
        if other == 0:
            raise NotLinear(f"the quotient ({plain(self)}) / 0")
        if any(c % other for _, c in self.terms) or self.constant % other:
            raise NotMultiple(f"the quotient ({plain(self)}) / ({plain(other)})", self, abs(other))
        return _normal({s: c // other for s, c in self.terms}, self.constant // other)

    def __rfloordiv__(self, other: int) -> Dim:
        raise NotLinear(f"the quotient {other} / ({plain(self)})")

    def __neg__(self) -> Expr:
        return Expr(tuple((s, -c) for s, c in self.terms), -self.constant)

    def __sub__(self, other: Dim) -> Dim:
        return self + -other

    def __rsub__(self, other: int) -> Dim:
        return -self + other

    __radd__ = __add__
    __rmul__ = __mul__

    def __str__(self) -> str:
        return _sum(self, str)

    __repr__ = __str__


Dim = int | Expr
Monomial = tuple[Symbol, ...]  # a product of symbols in order; () is 1


class NotLinear(ArithmeticError):
    """The result of an operation on dimensions is not a linear expression."""


class TooSmall(NotLinear):
    """A size may be less than an operator needs."""

    def __init__(self, what: str, size: Dim, least: int) -> None:
        super().__init__(what)
        self.size, self.least = size, least


class NotMultiple(NotLinear):
    """A size may not be a multiple of the number that an operator needs."""

    def __init__(self, what: str, size: Expr, of: int) -> None:
        super().__init__(what)
        self.size, self.of = size, of


class Unequal(NotLinear):
    """Two sizes that an operator needs to be equal may differ, because one of them is rounded down."""

    def __init__(self, what: str, a: Dim, b: Dim) -> None:
        super().__init__(what)
        self.difference = a - b


def _normal(coefficients: Mapping[Symbol, int], constant: int) -> Dim:
    terms = tuple(sorted((s, c) for s, c in coefficients.items() if c))
    return Expr(terms, constant) if terms else constant


def dim(symbol: Symbol) -> Expr:
    """Return the dimension that equals `symbol`."""
    return Expr(((symbol, 1),))


def floor(d: Dim, per: int) -> Dim:
    """Return d / per, rounded down; per is 1 or more.

    A multiple of `per` in the numerator becomes a term of its own. Of the others, the coefficients are small and mostly
    positive: floor(x / p) is -floor((p - 1 - x) / p).
    """
    if not isinstance(d, Expr):
        return d // per
    rest = {s: c % per for s, c in d.terms}
    if sum(rest.values()) > sum(per - c for c in rest.values() if c):
        return -floor(-d + (per - 1), per)
    whole = _normal({s: c // per for s, c in d.terms}, d.constant // per)
    part = _normal(rest, d.constant % per)
    return whole + (_quotient(part, per) if isinstance(part, Expr) else 0)


def ceil(d: Dim, per: int) -> Dim:
    """Return d / per, rounded up; per is 1 or more."""
    return floor(d + (per - 1), per)


def _quotient(of: Expr, per: int) -> Dim:
    """Return the derived symbol of / per. A quotient in the numerator joins it: (x/p + c) / q is (x + c p) / (p q)."""
    if (common := math.gcd(per, *(c for _, c in of.terms))) > 1:
        return floor(_normal({s: c // common for s, c in of.terms}, of.constant // common), per // common)
    if of.low // per == of.high // per:
        return of.low // per
    inner = [s for s, c in of.terms if c == 1 and s.rule is not None and s.rule.per > 1]
    if inner and inner[0].rule is not None:
        (numerator,), by = inner[0].rule.of, inner[0].rule.per
        return floor(numerator + (of - dim(inner[0])) * by, per * by)
    name = _name(f"floor_{_words(of)}_by_{per}")
    return dim(Symbol(name, of.low // per, of.high // per, Rule((of,), per)))


def _multiplied(a: Expr, b: Expr) -> Dim:
    return _expression(polynomials.product(_polynomial(a), _polynomial(b)))


def _divided(a: Expr, b: Expr) -> Dim:
    quotient = polynomials.quotient(_polynomial(a), _polynomial(b))
    if quotient is None:
        raise NotLinear(f"the quotient ({plain(a)}) / ({plain(b)})")
    return _expression(quotient)


def _polynomial(d: Dim) -> dict[Monomial, int]:
    if not isinstance(d, Expr):
        return {(): d} if d else {}
    return {s.factors: c for s, c in d.terms} | ({(): d.constant} if d.constant else {})


def _expression(polynomial: Mapping[Monomial, int]) -> Dim:
    coefficients = {_product_symbol(m): c for m, c in polynomial.items() if m}
    return _normal(coefficients, polynomial.get((), 0))


def _product_symbol(factors: Monomial) -> Symbol:
    if len(factors) == 1:
        return factors[0]
    name = _name("product_" + "_".join(s.name.removeprefix(FREE) for s in factors))
    low, high = (math.prod(getattr(s, end) for s in factors) for end in ("low", "high"))
    return Symbol(name, low, high, Rule(tuple(map(dim, factors))))


def _words(of: Expr) -> str:
    """Return an expression as a part of a name, such as n_plus_3."""
    parts = [(c, f"{abs(c)}_" * (abs(c) != 1) + s.name.removeprefix(FREE)) for s, c in of.terms]
    parts += [(of.constant, str(abs(of.constant)))] if of.constant else []
    text = "".join(f"_{'minus' if c < 0 else 'plus'}_{part}" for c, part in parts)
    return text.removeprefix("_plus_").removeprefix("_")


def _name(text: str) -> str:
    if len(text) <= _LONGEST:
        return text
    return f"{text[: _LONGEST - 9]}_{hashlib.sha256(text.encode()).hexdigest()[:8]}"


@cache
def _bound(d: Expr) -> int:
    """Return a lower bound of an expression with derived symbols, or a very small number.

    Every quotient floor(x / p) lies within (x - p + 1) / p and x / p. With these in its place the expression is a
    polynomial; if it is linear in each symbol, it is smallest at a corner of their ranges.
    """
    polynomial: dict[Monomial, Fraction] = {}
    for monomial, c in _polynomial(d).items():
        if len(monomial) > 1 and sum(s.rule is not None for s in monomial) > 1:
            return _UNKNOWN
        for key, x in _relaxed(monomial, c).items():
            polynomials.added(polynomial, key, x)
    if any(s.rule for m in polynomial for s in m):
        return _UNKNOWN
    least = polynomials.least(polynomial)
    return _UNKNOWN if least is None else least


def _relaxed(monomial: Monomial, factor: int | Fraction) -> dict[Monomial, Fraction]:
    """Return a polynomial without quotients that is up to factor * monomial."""
    quotients = [s for s in monomial if s.rule is not None]
    if not quotients or quotients[0].rule is None:
        return {monomial: Fraction(factor)}
    rule, others = quotients[0].rule, [s for s in monomial if s is not quotients[0]]
    result: dict[Monomial, Fraction] = {}
    numerator = rule.of[0] - (rule.per - 1 if factor > 0 else 0)
    for m, c in _polynomial(numerator).items():
        for key, x in _relaxed(tuple(sorted((*m, *others))), Fraction(factor) * c / rule.per).items():
            polynomials.added(result, key, x)
    return result


def written(d: Dim) -> int | str:
    """Return `d` as a plan has it: a number, or a sum over names of symbols; see `bounded`."""
    return by_name(bounded(d)) if isinstance(d, Expr) else int(d)


def by_name(d: Expr) -> str:
    """Return `d` as a sum over names of symbols."""
    return _sum(d, lambda symbol: symbol.name)


def bounded(d: Expr) -> Expr:
    """Return `d` with the bounds that are seen term by term: a symbol of its own if those of the sum are closer."""
    if not d.correlated or _by_term(d) == (d.low, d.high):
        return d
    return dim(Symbol(_name(f"size_{_words(d)}"), max(d.low, 0), d.high, Rule((d,))))


def _by_term(d: Expr) -> tuple[int, int]:
    ends = [sorted((c * s.low, c * s.high)) for s, c in d.terms]
    return d.constant + sum(low for low, _ in ends), d.constant + sum(high for _, high in ends)


def _sum(d: Expr, name: Callable[[Symbol], str]) -> str:
    text = ""
    for symbol, c in d.terms:
        text += ("-" if c < 0 else "+" if text else "") + (f"{abs(c)}*" if abs(c) != 1 else "") + name(symbol)
    return text + (f"{d.constant:+d}" if d.constant else "")


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
    """Return the number of elements of a shape."""
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
        total = total + _value(symbol, values) * c
    return total


def _value(symbol: Symbol, values: Mapping[str, Dim]) -> Dim:
    if symbol.rule is None:
        return values.get(symbol.name, dim(symbol))
    of = product(tuple(substitute(part, values) for part in symbol.rule.of))
    return floor(of, symbol.rule.per)


def symbols(d: Dim) -> tuple[Symbol, ...]:
    """Return the symbols that `d` depends on and that follow from no others."""
    return tuple(s for s in dict.fromkeys(with_rules(d)) if s.rule is None)


def with_rules(d: Dim) -> Iterator[Symbol]:
    """Yield the symbols that `d` depends on, each after those that it follows from."""
    for symbol, _ in d.terms if isinstance(d, Expr) else ():
        for part in symbol.rule.of if symbol.rule else ():
            yield from with_rules(part)
        yield symbol
