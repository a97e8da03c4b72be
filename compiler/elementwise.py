"""Elementwise operators, and expressions of them: what a fused chain computes, as data that a kernel can inline.

An expression is a tuple of steps `(op, *arguments)`. An argument is "x2" (input 2 of the node), "t0" (the result of
step 0), "acc" (what the host kernel computed; "acc1" the second, if that is two things) or a number. The last step is
the result.
"""

from __future__ import annotations

COMPARISONS = frozenset({"Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual"})
LOGIC = frozenset({"And", "Or", "Xor", "Not"})
PREDICATES = COMPARISONS | LOGIC | {"IsNaN", "IsInf"}
UNARY = frozenset(
    "Abs Ceil Cos Erf Exp Floor Gelu Identity Log Neg Reciprocal Relu Round Sigmoid Sign Sin Softplus Sqrt Tanh".split()
)
BINARY = frozenset("Add Sub Mul Div Pow Max Min".split())
ELEMENTWISE = PREDICATES | UNARY | BINARY | {"Where", "Clip", "Cast"}

SMOOTH = (UNARY | BINARY | {"Clip", "TanhGelu"}) - {"Sign"}  # from f32 to f32, so that four can be done at once

Step = tuple[str | float | int, ...]
Expression = tuple[Step, ...]


def text(expression: Expression) -> str:
    """One line for people: `t0 = Add(acc, x2); t1 = Gelu(t0)`."""
    return "; ".join(f"t{i} = {op}({', '.join(map(str, args))})" for i, (op, *args) in enumerate(expression))


def shifted(expression: Expression, steps: int, inputs: dict[str, str | float]) -> Expression:
    """`expression` appended after `steps` others, its arguments renamed by `inputs`."""

    def rename(arg: str | float) -> str | float:
        if isinstance(arg, str) and arg.startswith("t"):
            return f"t{int(arg[1:]) + steps}"
        return inputs.get(arg, arg) if isinstance(arg, str) else arg

    return tuple((op, *map(rename, args)) for op, *args in expression)
