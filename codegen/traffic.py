"""Memory traffic: the elements of its operands that a dispatch reads or writes, which memory has to move at least once.

Most kernels touch every element. A kernel that does not has `Kernel.touched`. A kernel that writes rows into a state
does not touch the rows before them.
"""

from __future__ import annotations

from intaglio.codegen.formats import FORMATS
from intaglio.codegen.kernel import Operand, Weight, most
from intaglio.codegen.lower import Dispatch
from intaglio.codegen.weights import kernel_layout_size
from intaglio.compiler.ir.dims import Dim
from intaglio.compiler.ir.values import TensorType
from intaglio.runtime.limits import WORD


def touched(dispatch: Dispatch) -> dict[str, tuple[Dim, ...]]:
    """Return the number of elements that a dispatch touches of each operand, as factors of the number."""
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
    """Return the bytes that a dispatch reads and writes at the largest sizes."""
    operands = dispatch.kernel.operands
    return sum(_bytes(operands[name]) * most(TensorType("f32", shape)) for name, shape in touched(dispatch).items())


def _bytes(operand: Operand) -> int:
    """Return the bytes of one stored number."""
    return FORMATS[operand.format].bytes if isinstance(operand, Weight) else WORD
