"""What kernels can absorb: facts about codegen/ops on which the fusions rely."""

from __future__ import annotations

from intaglio.compiler.ir.dims import Dim
from intaglio.compiler.ir.expression import SMOOTH
from intaglio.compiler.ir.operators import Elementwise
from intaglio.compiler.ir.values import Value


def is_one_row(shape: tuple[Dim, ...]) -> bool:
    """Return whether a shape has a single row, so that a layer is a matrix-vector product."""
    return all(d == 1 for d in shape[:-1])


def by_fours(expression: Elementwise[Value], out: Value) -> bool:
    """Return whether an expression can be applied to four neighbouring f32 elements of `out` at a time."""
    width = out.shape[-1] if out.shape else 1
    return (
        isinstance(width, int)
        and width % 4 == 0
        and all(v.dtype == "f32" and v.shape and v.shape[-1] == width for v in expression.operands)
        and all(op in SMOOTH for op, *_ in expression.steps)
    )
