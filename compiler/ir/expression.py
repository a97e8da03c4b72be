"""Elementwise operators, and expressions of them: what a fused chain computes, as data that a kernel can inline.

An expression is a tuple of steps `(op, *arguments)`. An argument is "x2" (input 2 of the node), "t0" (the result of
step 0), "acc" (what the host kernel computed; "acc1" the second, if that is two things) or a number. The last step is
the result.
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

# What an attribute makes of an operator has a name of its own in expressions.
SPELLED: dict[str, tuple[str, dict[str, str | int]]] = {
    "TanhGelu": ("Gelu", {"approximate": "tanh"}),
    "Fmod": ("Mod", {"fmod": 1}),
    "ShiftLeft": ("BitShift", {"direction": "LEFT"}),
    "ShiftRight": ("BitShift", {"direction": "RIGHT"}),
}
# Attributes that are numbers, with their defaults, are arguments after the others.
NUMBERS: dict[str, dict[str, float]] = {
    "Elu": {"alpha": 1.0},
    "HardSigmoid": {"alpha": 0.2, "beta": 0.5},
    "LeakyRelu": {"alpha": 0.01},
}

# From f32 to f32, so that four can be done at once.
SMOOTH = (UNARY | BINARY | {"Clip", "TanhGelu"}) - {"Sign"}

Argument = str | float | None  # None: an optional one that is absent
Step = tuple[str, *tuple[Argument, ...]]
Expression = tuple[Step, ...]


def step(op: str, attrs: Mapping[str, Any], args: Sequence[Argument]) -> Step:
    """The step that applies an operator with attributes to arguments."""
    numbers = [attrs.get(name, default) for name, default in NUMBERS.get(op, {}).items()]
    spelled = (name for name, (base, given) in SPELLED.items() if base == op and given.items() <= attrs.items())
    return (next(spelled, op), *args, *numbers)


def operator(step: Step) -> tuple[str, dict[str, Any], tuple[Argument, ...]]:
    """The operator of a step, its attributes and its arguments: what `step` made it of."""
    op, attrs = SPELLED.get(step[0], (step[0], {}))
    names = NUMBERS.get(op, {})
    numbers = step[len(step) - len(names) :]
    return op, attrs | dict(zip(names, numbers, strict=True)), step[1 : len(step) - len(names)]


def text(expression: Expression) -> str:
    """One line for people: `t0 = Add(acc, x2); t1 = Gelu(t0)`."""
    return "; ".join(f"t{i} = {op}({', '.join(map(str, args))})" for i, (op, *args) in enumerate(expression))


def shifted(expression: Expression, steps: int, inputs: Mapping[str, str | float]) -> Expression:
    """`expression` appended after `steps` others, its arguments renamed by `inputs`."""

    def rename(arg: Argument) -> Argument:
        if isinstance(arg, str) and arg.startswith("t"):
            return f"t{int(arg[1:]) + steps}"
        return inputs.get(arg, arg) if isinstance(arg, str) else arg

    return tuple((op, *map(rename, args)) for op, *args in expression)
