"""Narrows a free size to what a model takes: a window of 400 elements needs 400, a Reshape may need a multiple.

The loader begins again with the narrower size, so that every shape is decided over its whole range.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping
from typing import Any

from intaglio.compiler.ir import dims
from intaglio.compiler.ir.dims import Dim, Expr, NotLinear, NotMultiple, Symbol, TooSmall, Unequal, dim
from intaglio.compiler.ir.errors import BadModel

Narrow = range | int | str  # the values of a free size, its value, or the label of another one that it must equal
MAX_UNBOUND = 1024  # the largest size of a dynamic dimension that is not bound, unless the model needs a larger one
_ROOM = 4  # then it is this multiple of what the model needs
_MOST_STEP = 4096  # multiples and ranges that are looked for
_MOST = 1 << 24  # elements that a model may need along an axis


def size_of(name: str, sizes: range) -> Dim:
    """Return a dimension that takes these sizes, which is a multiple of a symbol, plus a rest, if they have a step."""
    step, rest = sizes.step, sizes.start % sizes.step
    name = f"{name}_by_{step}" if step > 1 else name
    return dim(Symbol(name, sizes.start // step, (sizes[-1] - rest) // step)) * step + rest


def narrowed(need: BaseException | None, sizes: Mapping[str, Dim], bind: Mapping[str, Any]) -> dict[str, Narrow]:
    """Return what an operator needs a free size to be, by its label, or {} if there is none.

    need: why the operator was refused. sizes: the free sizes of the model by label. bind: those that the user limited.
    Raises BadModel if the user allows none of the sizes that the operator takes.
    """
    if isinstance(need, TooSmall) and isinstance(need.size, Expr) and len(dims.symbols(need.size)) == 1:
        (symbol,) = dims.symbols(need.size)
        least = _least(need.size, need.least, symbol)
        return _within(need, symbol, range(least, _MOST), sizes, bind) if least is not None else {}
    if isinstance(need, Unequal) and isinstance(need.difference, Expr):
        return _equal(need, need.difference, sizes, bind)
    if isinstance(need, NotMultiple) and len(need.size.terms) == 1:
        (symbol, factor), rest = need.size.terms[0], need.size.constant
        symbol = max(symbol.factors, key=lambda s: _order(s, sizes))
        step = need.of // math.gcd(factor, need.of)
        starts = [n for n in range(min(step, _MOST_STEP)) if (factor * n + rest) % need.of == 0]
        plain = symbol.rule is None and (rest == 0 or symbol is need.size.terms[0][0])
        return _within(need, symbol, range(starts[0], _MOST, step), sizes, bind) if plain and starts else {}
    return {}


def _equal(need: Unequal, difference: Expr, sizes: Mapping[str, Dim], bind: Mapping[str, Any]) -> dict[str, Narrow]:
    """Return two sizes that must be equal, or sizes, a number apart, in which nothing is rounded down that differs."""
    if (pair := _alike(difference)) and (labels := _labels(pair, sizes, bind)):
        return {labels[1]: labels[0]}
    rules = [(s, s.rule) for s in dims.with_rules(difference) if s.rule is not None and s.rule.per > 1]
    for symbol in dims.symbols(difference):
        step = math.lcm(*(rule.per for s, rule in rules if dims.symbols(dim(s)) == (symbol,)))
        alone = dims.symbols(difference) == (symbol,)
        if 1 < step <= _MOST_STEP:
            fits = (n for n in range(step) if not alone or _stepped(difference, symbol, step, n) == 0)
            if (first := next(fits, None)) is not None:
                return _within(need, symbol, range(first, _MOST, step), sizes, bind)
    if len(dims.symbols(difference)) == 1 and (values := _zeros(difference)):
        return _only(values, dims.symbols(difference)[0], sizes, bind)
    return {}


def _zeros(difference: Expr) -> range:
    """Return the values of the only symbol with which a difference is 0, if it grows or falls with the symbol."""
    (symbol,) = dims.symbols(difference)
    rising = difference if dims.fixed(dims.substitute(difference, {symbol.name: _MOST})) > 0 else -difference

    def first(least: int) -> int:
        enough = dims.fixed(dims.substitute(rising, {symbol.name: symbol.low})) >= least
        return symbol.low if enough else _least(rising, least, symbol) or _MOST

    values = range(first(0), first(1))
    zero = all(dims.substitute(difference, {symbol.name: n}) == 0 for n in values[:_MOST_STEP])
    return values if zero and len(values) <= _MOST_STEP else range(0)


def _only(values: range, symbol: Symbol, sizes: Mapping[str, Dim], bind: Mapping[str, Any]) -> dict[str, Narrow]:
    """Return the values of a size with these of its symbol, if the user allows them."""
    for label, size in sizes.items():
        if dims.symbols(size) == (symbol,):
            ends = [dims.fixed(dims.substitute(size, {symbol.name: n})) for n in (values[0], values[-1])]
            allowed = bind.get(label, range(1, _MOST))
            if not all(end in allowed for end in ends):
                return {}
            step = 1 if len(values) == 1 else (ends[1] - ends[0]) // (len(values) - 1)
            return {label: ends[0] if len(values) == 1 else range(ends[0], ends[1] + 1, step)}
    return {}


def _alike(difference: Expr) -> tuple[Symbol, Symbol] | None:
    """Return the two symbols that a difference is a multiple of the difference of, if it is."""
    if difference.constant or len(difference.terms) != 2:
        return None
    (a, x), (b, y) = difference.terms
    return (a, b) if x == -y and a.rule is None and b.rule is None else None


def _labels(pair: tuple[Symbol, Symbol], sizes: Mapping[str, Dim], bind: Mapping[str, Any]) -> list[str]:
    """Return the labels of two sizes in the order of the inputs, or [] if the user gave them different ranges."""
    labels = [label for label, size in sizes.items() if isinstance(size, Expr) and size in [*map(dim, pair)]]
    first, *others = dict.fromkeys(sizes[label] for label in labels) or [0]
    named = [label for label in labels if sizes[label] == first][:1]
    named += [label for label in labels if sizes[label] in others][:1]
    ranges = {bind.get(label) for label in named}
    return named if len(named) == 2 and len(ranges) == 1 else []


def _stepped(size: Expr, symbol: Symbol, step: int, first: int) -> Dim:
    """Return a size in which a symbol is first, first + step, ..."""
    return dims.substitute(size, {symbol.name: dim(Symbol("step", 1, _MOST // step)) * step + first})


def _least(size: Expr, least: int, symbol: Symbol) -> int | None:
    """Return the smallest value of the symbol with which a size, which grows with it, is large enough."""

    def enough(n: int) -> bool:
        return dims.fixed(dims.substitute(size, {symbol.name: n})) >= least

    low, high = symbol.low, _MOST
    if enough(low) or not enough(high):
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _order(symbol: Symbol, sizes: Mapping[str, Dim]) -> int:
    """Return the place of a symbol among the inputs' sizes: a batch comes first."""
    return next((i for i, size in enumerate(sizes.values()) if symbol in dims.symbols(size)), -1)


def _within(
    need: NotLinear, symbol: Symbol, allowed: range, sizes: Mapping[str, Dim], bind: Mapping[str, Any]
) -> dict[str, Narrow]:
    """Return the values of a size whose symbol takes those `allowed`, and that the user allows too, if it has any."""
    for label, size in sizes.items():
        if isinstance(size, Expr) and dims.symbols(size) == (symbol,):
            ((_, step),), rest = size.terms, size.constant
            first = max(symbol.low, allowed.start)
            first += (allowed.start - first) % allowed.step
            low = step * first + rest
            end = bind[label].stop if label in bind else max(MAX_UNBOUND, _ROOM * low) + 1
            narrow = range(low, end, step * allowed.step)
            if label in bind and len(narrow) < 2:
                more = f" and a multiple of {narrow.step}" if narrow.step > 1 else ""
                example = binding_of(label, range(low, max(MAX_UNBOUND, _ROOM * low) + 1))
                raise BadModel(f"{need}: {label} must be {low} or more{more}, for example {example}")
            return {label: narrow} if len(narrow) > 1 else {}
    return {}


def binding_of(label: str, sizes: range) -> str:
    """Return the option that lets a size vary within a range."""
    return f"--bind {shlex.quote(f'{label}={sizes.start}..{sizes[-1]}')}"


def described(sizes: range) -> str:
    """Return a range as text: 4..1024, or 4..1024 in steps of 4."""
    return f"{sizes.start}..{sizes[-1]}" + (f" in steps of {sizes.step}" if sizes.step > 1 else "")
