"""Traffic: the elements of its operands that a dispatch touches, which is what memory has to move at the least.

Most kernels touch all. Those that do not say so (`Kernel.touched`), and rows that are written into a state leave the
rows before them alone.
"""

from __future__ import annotations

from intaglio.codegen.formats import FORMATS
from intaglio.codegen.kernel import Operand, Weight, most
from intaglio.codegen.lower import Dispatch
from intaglio.codegen.weights import kernel_layout_size
from intaglio.compiler.ir.dims import Dim
from intaglio.compiler.ir.graph import TensorType
from intaglio.runtime.limits import WORD


def touched(dispatch: Dispatch) -> dict[str, tuple[Dim, ...]]:
    """For each operand the elements that are touched, as factors of their number."""
    kernel, node = dispatch.kernel, dispatch.node
    at = {node.outputs[w.output]: w.at for w in node.own.writes} if node.own else {}
    result: dict[str, tuple[Dim, ...]] = {}
    for name, operand in kernel.operands.items():
        if name in kernel.touched:
            result[name] = kernel.touched[name]
        elif isinstance(operand, Weight):
            result[name] = (kernel_layout_size(operand),)
        elif name in kernel.writes and operand in node.written:
            *outer, rows, width = operand.shape
            result[name] = (*outer, rows - at.get(operand, 0), width)
        else:
            result[name] = operand.shape
    return result


def moved(dispatch: Dispatch) -> int:
    """Bytes, at the largest sizes."""
    operands = dispatch.kernel.operands
    return sum(_bytes(operands[name]) * most(TensorType("f32", shape)) for name, shape in touched(dispatch).items())


def _bytes(operand: Operand) -> int:
    """Of one of the numbers that are stored."""
    return FORMATS[operand.format].bytes if isinstance(operand, Weight) else WORD
