"""Sizes in a plan: numbers, or linear expressions over its symbols such as "past+new_tokens"."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from intaglio.runtime.errors import BadBundle

Size = int | str  # a number, or a linear expression over symbols such as "past+new_tokens"
Grid = tuple[int | Mapping[str, Any], ...]
_TERM = re.compile(r"([+-]?)(?:(\d+)\*)?(?:([A-Za-z_]\w*)|(\d+))", re.ASCII)


@dataclass(frozen=True)
class Rule:
    """How a symbol follows from others: floor(product(of) / per)."""

    of: tuple[Size, ...]
    per: int = 1

    def value(self, symbols: Mapping[str, int]) -> int:
        """Return the symbol's value; raises BadBundle if a size is malformed or names an unknown symbol."""
        return math.prod(evaluate_size(size, symbols) for size in self.of) // self.per


@cache
def _terms(size: str) -> tuple[tuple[int, str], ...]:
    """(factor, symbol) of each term, the symbol "" for numbers; raises BadBundle if the size is malformed."""
    terms, end = [], 0
    for term in _TERM.finditer(size):
        sign, factor, symbol, number = term.groups()
        if term.start() != end or (end and not sign):
            break
        terms.append(((-1 if sign == "-" else 1) * int(factor or 1) * int(number or 1), symbol or ""))
        end = term.end()
    if end != len(size) or not size:
        raise BadBundle(f"the plan is broken: malformed size {size!r}; compile the model again")
    return tuple(terms)


def line(size: Size) -> tuple[int, str, int] | None:
    """(factor, symbol, constant) of a size with one symbol, such as "4*n_n+1"; None for others."""
    terms = () if isinstance(size, int) else _terms(size)
    symbols = [(factor, symbol) for factor, symbol in terms if symbol]
    if len(symbols) != 1:
        return None
    return *symbols[0], sum(factor for factor, symbol in terms if not symbol)


def symbols_of(size: Size) -> set[str]:
    """The symbols in a size; raises BadBundle if it is malformed."""
    return set() if isinstance(size, int) else {symbol for _, symbol in _terms(size)} - {""}


def evaluate_size(size: Size, symbols: Mapping[str, int]) -> int:
    """The value of a size; raises BadBundle if it is malformed or names an unknown symbol."""
    if isinstance(size, int):
        return size
    try:
        return sum(factor * (symbols[symbol] if symbol else 1) for factor, symbol in _terms(size))
    except KeyError as e:
        raise BadBundle(f"the plan is broken: unknown symbol {e.args[0]}; compile the model again") from None


def workgroups(grid: Grid, symbols: Mapping[str, int]) -> tuple[int, ...]:
    """The number of workgroups: a number, or ceil(product(of) / per)."""
    return tuple(
        d if isinstance(d, int) else -(-math.prod(evaluate_size(s, symbols) for s in d["of"]) // d["per"]) for d in grid
    )


def magnitude(sizes: tuple[Size, ...], ranges: Mapping[str, tuple[int, int]]) -> int:
    """A bound on the absolute value of a product of sizes."""
    return math.prod(
        abs(size) if isinstance(size, int) else sum(abs(f) * (ranges[s][1] if s else 1) for f, s in _terms(size))
        for size in sizes
    )


def largest(sizes: tuple[Size, ...], ranges: Mapping[str, tuple[int, int]]) -> int:
    """The largest product of sizes that can occur; raises BadBundle if one of them may be negative."""
    highs = []
    for size in sizes:
        terms = ((size, ""),) if isinstance(size, int) else _terms(size)
        ends = [sorted(f * n for n in (ranges[s] if s else (1, 1))) for f, s in terms]
        if sum(low for low, _ in ends) < 0:
            raise BadBundle(f"the plan is broken: the size {size} may be negative; compile the model again")
        highs.append(sum(high for _, high in ends))
    return math.prod(highs)
