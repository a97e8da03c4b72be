"""Titles: one line that says what a kernel computes. Kernels with the same code may have different titles."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

from intaglio.codegen import wgsl
from intaglio.compiler.ir.dims import Dim
from intaglio.compiler.ir.expression import Expression
from intaglio.compiler.ir.values import Value

_LONGEST = 72  # characters; of a longer formula, only the operators are listed

# operator: sign, precedence, whether its right side may have the same precedence
_SIGNS = {
    "Add": ("+", 2, True),
    "Sub": ("-", 2, False),
    "Mul": ("*", 3, True),
    "Div": ("/", 3, False),
    "And": ("&", 1, True),
    "Or": ("|", 1, True),
    "Equal": ("==", 0, False),
    "Less": ("<", 0, False),
    "LessOrEqual": ("<=", 0, False),
    "Greater": (">", 0, False),
    "GreaterOrEqual": (">=", 0, False),
}
_ALONE = 9  # the precedence of a name


def shape(value: Value) -> str:
    """Format the shape of a value: [3000,80]."""
    return f"[{','.join(map(str, value.shape))}]"


def sizes(dims: Iterable[Dim]) -> str:
    """Format sizes side by side: 3x3."""
    return "x".join(map(str, dims))


def formula(expression: Expression) -> str:
    """Format an expression as a person would write it, such as max(x0, x1) + 4. Of a long one, list the operators."""
    texts: list[tuple[str, int]] = []

    def argument(value: str | float | int | bool | None) -> tuple[str, int]:
        if isinstance(value, str) and re.fullmatch(r"t\d+", value):
            return texts[int(value[1:])]
        if value is None or isinstance(value, str):
            return str(value or ""), _ALONE
        return _number(value), _ALONE

    for op, *args in expression:
        texts.append(_applied(op, [argument(a) for a in args]))
        if len(texts[-1][0]) > _LONGEST:
            return ", ".join(_words(op) for op, *_ in expression if op != "Identity")
    return texts[-1][0]


def _applied(op: str, args: list[tuple[str, int]]) -> tuple[str, int]:
    """Return the text of an operator applied to argument texts, and its precedence."""
    if op == "Identity":
        return args[0]
    if op == "Neg":
        return f"-{_within(args[0], 4)}", 4
    if op == "Cast":
        return f"{args[1][0]}({args[0][0]})", _ALONE
    if op == "Clip" and len(args) == 3 and not (args[1][0] and args[2][0]):
        op = "Min" if args[2][0] else "Max"
    if op == "Pow" and args[1][0] == "2":
        return f"{_within(args[0], _ALONE)}^2", 5
    if op in _SIGNS:
        sign, level, loose = _SIGNS[op]
        return f"{_within(args[0], level)} {sign} {_within(args[1], level if loose else level + 1)}", level
    return f"{_words(op)}({', '.join(text for text, _ in args if text)})", _ALONE


def _within(argument: tuple[str, int], level: int) -> str:
    text, own = argument
    return text if own >= level else f"({text})"


def _number(value: float | int | bool) -> str:
    """Format a number with few digits, and a whole number without a decimal point."""
    if not math.isfinite(value):
        return str(float(value))
    return str(int(value)) if float(value).is_integer() and abs(value) < 1e15 else wgsl.number(value, "f32").rstrip("f")


def _words(op: str) -> str:
    """Convert an operator's name to snake case: TanhGelu to tanh_gelu."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", op).lower()
