"""Values of all invocations at once, and arithmetic on them: integers, vectors of them, and what is unknown."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Mask = np.ndarray  # bool[invocations]


class Unknown:
    """A value that no index arithmetic leads to."""


UNKNOWN = Unknown()
Scalar = int | np.ndarray | Unknown  # the same for all invocations, or int64[invocations]
Value = Scalar | tuple["Value", ...]  # a vector is a tuple


def _scalar(function: Callable[..., int | np.ndarray]) -> Callable[..., Value]:
    """The function on scalars, on vectors by component; unknown where an operand is."""

    def apply(*operands: Value) -> Value:
        if vector := next((o for o in operands if isinstance(o, tuple)), None):
            parts = [o if isinstance(o, tuple) else (o,) * len(vector) for o in operands]
            return tuple(apply(*each) for each in zip(*parts, strict=True))
        if any(isinstance(o, Unknown) for o in operands):
            return UNKNOWN
        return function(*operands)

    return apply


def _word(number: int | np.ndarray) -> int | np.ndarray:
    """A u32 that was too large, as WGSL wraps it. Negative ones stay: they may be i32."""
    return number & 0xFFFFFFFF if isinstance(number, int) and number > 0xFFFFFFFF else number


def _divide(a: int | np.ndarray, b: int | np.ndarray) -> int | np.ndarray:
    return a // np.maximum(b, 1) if isinstance(b, np.ndarray) else a // b if b else a


_OPERATORS: dict[str, Callable[..., Value]] = {
    operator: _scalar(function)
    for operator, function in {
        "+": lambda a, b: _word(a + b),
        "-": lambda a, b: a - b,
        "*": lambda a, b: _word(a * b),
        "/": _divide,
        "%": lambda a, b: a - _divide(a, b) * b,
        "<<": lambda a, b: _word(a << b),
        ">>": lambda a, b: a >> b,
        "&": lambda a, b: a & b,
        "|": lambda a, b: a | b,
        "^": lambda a, b: a ^ b,
        "&&": lambda a, b: (a != 0) & (b != 0),
        "||": lambda a, b: (a != 0) | (b != 0),
        "==": lambda a, b: (a == b) * 1,
        "!=": lambda a, b: (a != b) * 1,
        "<": lambda a, b: (a < b) * 1,
        ">": lambda a, b: (a > b) * 1,
        "<=": lambda a, b: (a <= b) * 1,
        ">=": lambda a, b: (a >= b) * 1,
    }.items()
}
BUILTINS: dict[str, Callable[..., Value]] = {
    "min": _scalar(
        lambda a, b: np.minimum(a, b) if isinstance(a, np.ndarray) or isinstance(b, np.ndarray) else min(a, b)
    ),
    "max": _scalar(
        lambda a, b: np.maximum(a, b) if isinstance(a, np.ndarray) or isinstance(b, np.ndarray) else max(a, b)
    ),
    "clamp": _scalar(lambda a, low, high: np.clip(a, low, high)),
    "select": _scalar(lambda a, b, c: np.where(c, b, a) if isinstance(c, np.ndarray) else (b if c else a)),
    "abs": _scalar(lambda a: abs(a)),
    "u32": _scalar(lambda a: a),
    "i32": _scalar(lambda a: a),
}


def compute(operator: str, left: Value, right: Value) -> Value:
    return _OPERATORS[operator](left, right) if operator in _OPERATORS else UNKNOWN


def any_of(conditions: list[Value]) -> Value:
    result: Value = 0
    for condition in conditions:
        result = compute("|", result, condition)
    return result


def merged(active: Mask, new: Value, old: Value) -> Value:
    """`new` for the active invocations, `old` for the others."""
    if isinstance(new, tuple) and isinstance(old, tuple) and len(new) == len(old):
        return tuple(merged(active, n, o) for n, o in zip(new, old, strict=True))
    if active.all() or not isinstance(new, int | np.ndarray) or not isinstance(old, int | np.ndarray):
        return new
    return np.where(active, new, old)


def vector(name: str, values: list[Value]) -> Value:
    """vec2u(a, b), vec4u(a), vec3u(ab, c), vec4u()."""
    count = int(name[3])
    parts = [part for value in values for part in (value if isinstance(value, tuple) else (value,))]
    if len(parts) <= 1:
        return (*(parts or [0]),) * count
    return tuple(parts[:count]) if len(parts) >= count else UNKNOWN


def pair(value: Value) -> tuple[Value, Value]:
    return (value[0], value[1]) if isinstance(value, tuple) else (UNKNOWN, UNKNOWN)


def component(letter: str) -> int:
    return "xyzw".find(letter) if letter in "xyzw" else "rgba".find(letter)


def members(of: Value, name: str) -> Value:
    if not isinstance(of, tuple) or not set(name) <= set("xyzw"):
        return UNKNOWN
    parts = tuple(of[component(letter)] for letter in name)
    return parts[0] if len(parts) == 1 else parts


def number(value: Value) -> int:
    assert isinstance(value, int)
    return value
