"""WGSL text for numbers, dimensions, indices and elementwise expressions."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from intaglio.codegen.kernel import scalar, stored
from intaglio.compiler.ir.dims import Dim, Expr, NotLinear
from intaglio.compiler.ir.errors import UnsupportedOperator
from intaglio.compiler.ir.expression import LOGIC, PREDICATES, Expression
from intaglio.compiler.ir.values import FLOATS
from intaglio.compiler.semantics.shapes import strides

# One row per operator: the text of its value, from its arguments. A bool is a u32, 0 or 1.
OPERATORS = {
    "Abs": "abs({0})",
    "Acos": "arccos({0})",
    "Acosh": "arcosh({0})",
    "Add": "{0} + {1}",
    "And": "{0} & {1}",
    "Asin": "arcsin({0})",
    "Asinh": "arsinh({0})",
    "Atan": "arctan({0})",
    "Atanh": "artanh({0})",
    "BitwiseAnd": "{0} & {1}",
    "BitwiseNot": "~{0}",
    "BitwiseOr": "{0} | {1}",
    "BitwiseXor": "{0} ^ {1}",
    "Ceil": "ceil({0})",
    "Cos": "cos({0})",
    "Cosh": "0.5 * (exp({0}) + exp(-{0}))",
    "Div": "{0} / {1}",
    "Elu": "select({1} * expm1({0}), {0}, {0} > {zero})",
    "Equal": "select(0u, 1u, {0} == {1})",
    "Erf": "erf({0})",
    "Exp": "exp({0})",
    "Floor": "floor({0})",
    "Gelu": "gelu({0})",
    "Greater": "select(0u, 1u, {0} > {1})",
    "GreaterOrEqual": "select(0u, 1u, {0} >= {1})",
    "HardSigmoid": "clamp({1} * {0} + {2}, {zero}, {one})",
    "HardSwish": "{0} * clamp({0} / 6.0 + 0.5, {zero}, {one})",
    "Identity": "{0}",
    "IsInf": "is_inf({0})",
    "IsNaN": "is_nan({0})",
    "LeakyRelu": "select({1} * {0}, {0}, {0} >= {zero})",
    "Less": "select(0u, 1u, {0} < {1})",
    "LessOrEqual": "select(0u, 1u, {0} <= {1})",
    "Log": "log({0})",
    "Max": "max({0}, {1})",
    "Min": "min({0}, {1})",
    "Mish": "{0} * tanh_safe(softplus({0}))",
    "Mul": "{0} * {1}",
    "Neg": "-{0}",
    "Not": "1u - {0}",
    "Or": "{0} | {1}",
    "Reciprocal": "1.0 / {0}",
    "Relu": "max({0}, {zero})",
    "Round": "round({0})",
    "Sigmoid": "1.0 / (1.0 + exp(-{0}))",
    "Sign": "sign({0})",
    "Sin": "sin({0})",
    "Sinh": "sinh_exact({0})",
    "Softplus": "softplus({0})",
    "Sqrt": "sqrt({0})",
    "Sub": "{0} - {1}",
    "Tan": "tan({0})",
    "Tanh": "tanh_safe({0})",
    "TanhGelu": "tanh_gelu({0})",
    "Where": "select({2}, {1}, {0} != 0u)",
    "Xor": "{0} ^ {1}",
}
# Rows whose value depends on the kind of number.
BY_KIND = {
    ("Mod", "f32"): "modulo({0}, {1})",
    ("Mod", "i32"): "modulo_i32({0}, {1})",
    ("Mod", "u32"): "{0} % {1}",
    ("Fmod", "f32"): "remainder({0}, {1})",
    ("Fmod", "i32"): "{0} % {1}",
    ("Fmod", "u32"): "{0} % {1}",
    ("ShiftLeft", "i32"): "select(0, {0} << min(u32({1}), 31u), u32({1}) < 32u)",
    ("ShiftLeft", "u32"): "select(0u, {0} << min({1}, 31u), {1} < 32u)",
    ("ShiftRight", "i32"): "{0} >> min(u32({1}), 31u)",
    ("ShiftRight", "u32"): "select(0u, {0} >> min({1}, 31u), {1} < 32u)",
}
_LARGEST = float(np.finfo(np.float32).max)
# Operators whose result may not fit an integer narrower than 32 bits, which then wraps around.
_GROWING = frozenset({"Abs", "Add", "BitwiseNot", "Div", "Mul", "Neg", "Pow", "ShiftLeft", "Sub"})


def number(value: float | int | bool, kind: str) -> str:
    """Return a literal of type f32, i32, u32 or vec4f. Raises UnsupportedOperator if an integer needs more bits."""
    if kind == "vec4f":
        return f"vec4f({number(value, 'f32')})"
    if kind == "f32":
        with np.errstate(over="ignore"):
            single = np.float32(value)
        if not np.isfinite(single):  # WGSL has no literals for infinities and NaN
            return f"from_bits({single.view(np.uint32):#x}u)"
        # The fewest digits that give the same float32, in numpy's or Python's notation. Those of the largest float32
        # round up to infinity, so it is written in full.
        short = min(str(single), str(float(str(single))), key=len)
        return f"{short}f" if abs(float(short)) <= _LARGEST else f"{float(single)}f"
    value = stored(np.array(int(value), np.int64 if kind == "i32" else np.uint64)).item()
    return f"{value}{kind[0]}" if value >= 0 else f"i32({value})"


def size(d: Dim) -> str:
    """Return a dimension as a u32 expression: a literal, or a sum over fields of the uniform block."""
    if not isinstance(d, Expr):
        return f"{int(d)}u"
    text = ""
    for symbol, factor in sorted(d.terms, key=lambda term: term[1] < 0):  # a u32 has no sign
        term = " * ".join(f"dims.{s.name}" for s in symbol.factors) + (f" * {abs(factor)}u" if abs(factor) != 1 else "")
        text += (" - " if factor < 0 else " + " if text else "") + term
    if text.startswith(" - "):
        return f"({max(d.constant, 0)}u{text}{f' - {-d.constant}u' if d.constant < 0 else ''})"
    if d.constant:
        text += f" {'-' if d.constant < 0 else '+'} {abs(d.constant)}u"
    return f"({text})" if " " in text else text


def sum_of(*terms: str) -> str:
    """Return the sum of the terms, without those that are 0u."""
    rest = [t for t in terms if t != "0u"]
    return " + ".join(rest) or "0u"


def affine(index: str, out: tuple[Dim, ...], steps: tuple[Dim, ...], offset: Dim = 0) -> str:
    """Return the text of an element's place in a source tensor, for element `index` of a tensor of shape `out`.

    The place begins at `offset` and moves by `steps` along each axis of `out`; steps may be negative. Neighbouring axes
    that move as one are merged, so most tensors do not need a division.
    """
    axes: list[tuple[Dim, Dim]] = []  # (size, step), outermost first
    for d, step in zip(out, steps, strict=True):
        if d == 1:
            continue
        if axes and _as_one(axes[-1][1], step, d):
            axes[-1] = (axes[-1][0] * d, step)
        else:
            axes.append((d, step))
    terms: list[str] = []
    inner: Dim = 1
    for i, (d, step) in reversed(list(enumerate(axes))):
        coordinate = index if inner == 1 else f"{index} / {size(inner)}"
        if i > 0:
            coordinate = f"{coordinate} % {size(d)}"
        if step != 0:
            factor = f" * {size(-step if backward(step) else step)}" if step not in (1, -1) else ""
            product = f"({coordinate}){factor}" if factor and " " in coordinate else f"{coordinate}{factor}"
            terms.insert(0, f" - {product}" if backward(step) else f" + {product}")
        inner = inner * d if i > 0 else inner
    if offset != 0 or not terms or terms[0].startswith(" - "):
        terms.insert(0, size(offset))
    return "".join(terms).removeprefix(" + ")


def coordinates(index: str, shape: tuple[Dim, ...]) -> list[str]:
    """Return the texts of the coordinates, one per axis, of element `index` of a tensor of this shape."""
    texts = []
    for i, (d, step) in enumerate(zip(shape, strides(shape), strict=True)):
        divided = index if step == 1 else f"{index} / {size(step)}"
        texts.append(
            "0u" if d == 1 else divided if all(outer == 1 for outer in shape[:i]) else f"{divided} % {size(d)}"
        )
    return texts


def _as_one(outer: Dim, step: Dim, d: Dim) -> bool:
    """Return whether an axis with the step `outer` continues an inner axis of `d` elements with the step `step`."""
    try:
        return outer == step * d
    except NotLinear:
        return False


def backward(step: Dim) -> bool:
    """Return whether a step is negative."""
    return not isinstance(step, Expr) and step < 0


def body(
    expression: Expression, kinds: dict[str, str], load: Callable[[str], str], names: str = "t"
) -> tuple[list[str], str]:
    """Return the lines that compute an expression, and the name of its result.

    kinds: the element type, or vec4f, of "acc", of the element's index "i" and of each input; a bool is a u32, 0 or 1.
    load: returns the text that reads an input. names: the prefix of the variables.
    Raises UnsupportedOperator for an operator that has no text for its kind.
    """
    lines: list[str] = []
    types = dict(kinds)

    def text(arg: str | float, kind: str) -> str:
        if isinstance(arg, str):
            return load(arg) if arg.startswith("x") else arg.replace("t", names, 1) if arg.startswith("t") else arg
        return number(arg, kind)

    for i, (op, *optional) in enumerate(expression):
        args = [a for a in optional if a is not None]
        typed = [types[a] for a in args if isinstance(a, str) and a in types]
        kind = typed[1] if op == "Where" and len(typed) > 1 else typed[0] if typed else types["acc"]
        if op == "Cast":
            value, kind = _cast(text(args[0], _stored(kind)), kind, str(args[1])), str(args[1])
        elif op == "Pow":
            value = _power(args[0], args[1], kind, typed, text)
        elif op == "Clip":
            value = _clip(optional, _stored(kind), text)
        else:
            value = _row(op, _stored(kind)).format(
                *(text(a, _stored(kind)) for a in args), zero=number(0, _stored(kind)), one=number(1, _stored(kind))
            )
            kind = "bool" if op in PREDICATES or op in LOGIC else kind
        value = wrapped(value, kind) if op in _GROWING else value
        lines.append(f"let {names}{i} = {value};")
        types[f"t{i}"] = kind
    return lines, f"{names}{len(lines) - 1}"


Text = Callable[[str | float, str], str]


def _stored(kind: str) -> str:
    """Return the WGSL type of numbers of an element type, or vec4f."""
    return kind if kind == "vec4f" else scalar(kind)


def _row(op: str, kind: str) -> str:
    row = OPERATORS.get(op) or BY_KIND.get((op, kind))
    if row is None:
        raise UnsupportedOperator(f"{kind} is not supported", op)
    return row


def wrapped(value: str, kind: str) -> str:
    """Return the text of an integer that wraps around at its own width, if that is narrower than 32 bits."""
    bits = int(kind[1:]) if kind[0] in "iu" else 32
    return value if bits >= 32 else f"extractBits({value}, 0u, {bits}u)"


def _power(base: str | float, exponent: str | float, kind: str, typed: list[str], text: Text) -> str:
    """Return the text of base ** exponent in the base's kind. The exponent may have another kind."""
    stored_kind = _stored(kind)
    value = text(base, stored_kind)
    if exponent == 2:
        return f"{value} * {value}"
    if isinstance(exponent, str):
        given, exponent_kind = text(exponent, stored_kind), _stored(typed[-1])
    else:
        exponent_kind = stored_kind if kind in ("vec4f", *FLOATS) or float(exponent).is_integer() else "f32"
        given = text(exponent, exponent_kind)
    if kind in ("vec4f", *FLOATS):
        return f"power({value}, {_as(given, exponent_kind, stored_kind)})"
    if exponent_kind == "f32":
        return _as(f"power_mixed({_as(value, stored_kind, 'i32')}, {given})", "i32", stored_kind)
    return _as(f"power_i32({_as(value, stored_kind, 'i32')}, {_as(given, exponent_kind, 'i32')})", "i32", stored_kind)


def _clip(args: list[str | float | None], kind: str, text: Text) -> str:
    value, low, high = [*(text(a, kind) if a is not None else None for a in args), None, None][:3]
    value = value if low is None else f"max({value}, {low})"
    return value if high is None else f"min({value}, {high})"


def _cast(value: str, source: str, target: str) -> str:
    """Return the text of a value converted from one element type to another."""
    if target == "bool":
        return f"select(0u, 1u, {value} != {number(0, scalar(source))})"
    if target == "bf16" and source != "bf16":
        return f"round_bf16({_as(value, scalar(source), 'f32')})"
    if source in FLOATS and target in ("u4", "u8", "u16"):
        value, source = _as(value, "f32", "i32"), "i32"  # negative numbers wrap around too
    return wrapped(_as(value, scalar(source), scalar(target)), target)


def _as(value: str, source: str, target: str) -> str:
    return value if source == target else f"{target}({value})"
