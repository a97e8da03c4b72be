"""Elementwise operators, and expressions of them: the operations of a fused chain as data that a kernel can inline.

An expression is a tuple of steps `(op, *arguments)`. An argument is "x2" (input 2 of the node), "t0" (the result of
step 0), "acc" (the result of the host kernel; "acc1" is its second result, if any) or a number. The last step is the
result.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

COMPARISONS = frozenset({"Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual"})
LOGIC = frozenset({"And", "Or", "Xor", "Not"})
PREDICATES = COMPARISONS | LOGIC | {"IsNaN", "IsInf"}
UNARY = frozenset(
    """Abs Acos Acosh Asin Asinh Atan Atanh Ceil Cos Cosh Elu Erf Exp Floor Gelu HardSigmoid HardSwish Identity
    LeakyRelu Log Mish Neg Reciprocal Relu Round Sigmoid Sign Sin Sinh Softplus Sqrt Tan Tanh""".split()
)
BINARY = frozenset("Add Sub Mul Div Pow Max Min".split())
BITWISE = frozenset("BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor".split())
ELEMENTWISE = PREDICATES | UNARY | BINARY | BITWISE | {"Where", "Clip", "Cast", "Mod"}

# Names in expressions of operators with a certain attribute.
SPELLED: dict[str, tuple[str, dict[str, str | int]]] = {
    "TanhGelu": ("Gelu", {"approximate": "tanh"}),
    "Fmod": ("Mod", {"fmod": 1}),
    "ShiftLeft": ("BitShift", {"direction": "LEFT"}),
    "ShiftRight": ("BitShift", {"direction": "RIGHT"}),
}
# Numeric attributes with their defaults. Expressions have them as the last arguments.
NUMBERS: dict[str, dict[str, float]] = {
    "Elu": {"alpha": 1.0},
    "HardSigmoid": {"alpha": 0.2, "beta": 0.5},
    "LeakyRelu": {"alpha": 0.01},
}

# Operators from f32 to f32, which a kernel applies to four elements at once.
SMOOTH = (UNARY | BINARY | {"Clip", "TanhGelu"}) - {"Sign"}

Argument = str | float | None  # None: an optional one that is absent
Step = tuple[str, *tuple[Argument, ...]]
Expression = tuple[Step, ...]


def step(op: str, attrs: Mapping[str, Any], args: Sequence[Argument]) -> Step:
    """Return the step that applies an operator with attributes to arguments."""
    numbers = [attrs.get(name, default) for name, default in NUMBERS.get(op, {}).items()]
    spelled = (name for name, (base, given) in SPELLED.items() if base == op and given.items() <= attrs.items())
    return (next(spelled, op), *args, *numbers)


def operator(step: Step) -> tuple[str, dict[str, Any], tuple[Argument, ...]]:
    """Return the operator of a step, its attributes and its arguments: the inverse of `step`."""
    op, attrs = SPELLED.get(step[0], (step[0], {}))
    names = NUMBERS.get(op, {})
    numbers = step[len(step) - len(names) :]
    return op, attrs | dict(zip(names, numbers, strict=True)), step[1 : len(step) - len(names)]


def text(expression: Expression) -> str:
    """Return the expression as one line of text: `t0 = Add(acc, x2); t1 = Gelu(t0)`."""
    return "; ".join(f"t{i} = {op}({', '.join(map(str, args))})" for i, (op, *args) in enumerate(expression))


def shifted(expression: Expression, steps: int, inputs: Mapping[str, str | float]) -> Expression:
    """Return `expression` renumbered to follow `steps` other steps, with arguments renamed by `inputs`."""

    def rename(arg: Argument) -> Argument:
        if isinstance(arg, str) and arg.startswith("t"):
            return f"t{int(arg[1:]) + steps}"
        return inputs.get(arg, arg) if isinstance(arg, str) else arg

    return tuple((op, *map(rename, args)) for op, *args in expression)
