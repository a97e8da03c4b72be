"""Float arithmetic on sizes: exporters write ceil(n / 2) as Cast, Div, Ceil and Cast.

The numbers stay exact fractions, which become sizes again when they are rounded and cast to integers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from intaglio.compiler.ir import dims
from intaglio.compiler.ir.dims import Dim
from intaglio.compiler.ir.nodes import Node
from intaglio.compiler.ir.values import FLOATS, Value

_MOST = 64  # numbers of a tensor
_SIMPLE = 1 << 10  # the largest denominator of a constant


@dataclass(frozen=True)
class Ratio:
    """The number of / per; per is 1 or more."""

    of: Dim
    per: int = 1


def fractions(node: Node) -> np.ndarray | None:
    """Return the numbers of a float result that follow from sizes, or None if they do not."""
    rule = _RULES.get(node.op)
    if rule is None or (node.op == "Cast" and node.attrs["to"] not in FLOATS):
        return None
    contents = [c for c in map(_content, node.inputs) if c is not None]
    if len(contents) < len(node.inputs) or not any(v.fraction is not None or _is_size(v) for v in node.inputs):
        return None
    apply: Callable[..., Any] = np.frompyfunc(rule, len(contents), 1)
    result = np.asarray(apply(*contents), object)
    return None if any(r is None for r in result.reshape(-1)) else result


def whole(node: Node) -> np.ndarray | None:
    """Return the sizes that a Cast to integers makes of fractions, or None if it does not."""
    if node.op != "Cast" or node.attrs["to"] not in ("i64", "i32") or node.inputs[0].fraction is None:
        return None
    ratios = node.inputs[0].fraction
    if any(dims.low(r.of) < 0 for r in ratios.reshape(-1)):
        return None
    return np.asarray(np.frompyfunc(lambda r: dims.floor(r.of, r.per), 1, 1)(ratios), object)


def moved(node: Node) -> np.ndarray | None:
    """Return the numbers of a float result that has the elements of a tensor of fractions in another shape."""
    if node.op not in ("Unsqueeze", "Squeeze", "Reshape", "Identity") or node.inputs[0].fraction is None:
        return None
    shape = node.output.shape
    return node.inputs[0].fraction.reshape([dims.fixed(d) for d in shape])


def _is_size(value: Value) -> bool:
    return isinstance(value.const, np.ndarray) and value.const.dtype == object


def _content(value: Value) -> np.ndarray | None:
    if value.fraction is not None:
        return value.fraction
    if not isinstance(value.const, np.ndarray) or value.const.size > _MOST:
        return None
    return np.asarray(np.frompyfunc(_ratio, 1, 1)(value.const), object)


def _ratio(number: Dim | float) -> Ratio | None:
    if isinstance(number, dims.Expr):
        return Ratio(number)
    if not np.isfinite(number):
        return None
    fraction = Fraction(float(number)).limit_denominator(_SIMPLE)
    near = abs(float(fraction) - number) <= 1e-6 * abs(number)
    return Ratio(fraction.numerator, fraction.denominator) if near else None


def _product(a: Ratio | None, b: Ratio | None) -> Ratio | None:
    return Ratio(a.of * b.of, a.per * b.per) if a and b else None


def _quotient(a: Ratio | None, b: Ratio | None) -> Ratio | None:
    if not a or not b or not isinstance(b.of, int) or b.of <= 0:
        return None
    return Ratio(a.of * b.per, a.per * b.of)


def _sum(a: Ratio | None, b: Ratio | None) -> Ratio | None:
    return Ratio(a.of * b.per + b.of * a.per, a.per * b.per) if a and b else None


def _difference(a: Ratio | None, b: Ratio | None) -> Ratio | None:
    return Ratio(a.of * b.per - b.of * a.per, a.per * b.per) if a and b else None


_RULES: dict[str, Callable[..., Ratio | None]] = {
    "Cast": lambda a: a,
    "Mul": _product,
    "Div": _quotient,
    "Add": _sum,
    "Sub": _difference,
    "Floor": lambda a: Ratio(dims.floor(a.of, a.per)) if a else None,
    "Ceil": lambda a: Ratio(dims.ceil(a.of, a.per)) if a else None,
}
