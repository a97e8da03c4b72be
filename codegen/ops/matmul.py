"""Batched products of two tensors that are both computed at run time, and determinants."""

from __future__ import annotations

from intaglio.codegen import wgsl
from intaglio.codegen.kernel import Kernel, groups, op, operand, per_element, refuse, wgsl_type
from intaglio.codegen.target import MAX_TRIPS
from intaglio.compiler.ir import dims
from intaglio.compiler.ir.dims import Dim
from intaglio.compiler.ir.nodes import Node
from intaglio.compiler.semantics.shapes import broadcast, broadcast_strides

_TILE = 4  # rows and columns that an invocation computes
_MOST_ROWS = 32  # of a matrix that an invocation keeps in its variables
_LANES = 8  # invocations of a workgroup along rows and along columns


@op("MatMul")
def matmul(node: Node) -> Kernel:
    a, b = node.inputs
    left = (1, *a.shape) if len(a.shape) == 1 else a.shape
    right = (*b.shape, 1) if len(b.shape) == 1 else b.shape
    m, k, n = left[-2], left[-1], right[-1]
    if dims.high(k) > MAX_TRIPS:
        raise refuse(node, f"{k} columns need more than {MAX_TRIPS} loop iterations")
    size, type = node.output.type.size, wgsl_type(node.output.type)
    batch = broadcast(left[:-2], right[:-2]) if len(left) + len(right) > 4 else ()
    rows, columns = _at_most(_TILE, m), _at_most(_TILE, -(-n // _LANES) if isinstance(n, int) else n)
    consts = {
        "m": wgsl.size(m),
        "n": wgsl.size(n),
        "k": wgsl.size(k),
        "rows": rows,
        "columns": columns,
        "type": type,
        "a_index": _matrix(left, batch),
        "b_index": _matrix(right, batch),
    }
    reads = {"a": operand(a), "b": operand(b)}
    grid = (groups(n, per=_LANES * columns), groups(m, per=_LANES * rows), groups(*batch))
    label = f"matmul_batched_{rows}x{columns}"
    writes, workgroup = {"out": node.output}, (_LANES, _LANES)
    return Kernel("matmul_batched", reads, writes, grid, workgroup, consts, label, flops=size * 2, times=k)


@op("Det")
def determinant(node: Node) -> Kernel:
    """Return a kernel for the determinants of small matrices. Each invocation keeps one whole matrix."""
    (x,) = node.inputs
    n, count = x.shape[-1], node.output.type.size
    if not isinstance(n, int) or n > _MOST_ROWS:
        raise refuse(node, f"matrices of {n} rows are too large")
    consts = {"count": wgsl.size(count), "n": n}
    reads = {"x": operand(x)}
    return per_element("det", reads, {"out": node.output}, count, consts, f"det_{n}", count * (2 * n**3 // 3))


def _at_most(tile: int, d: Dim) -> int:
    return max(1, min(tile, dims.high(d)))


def _matrix(shape: tuple[Dim, ...], batch: tuple[Dim, ...]) -> str:
    """Return the text of the element at which the matrix of `batch` begins."""
    strides = broadcast_strides(shape[:-2], batch)
    each = shape[-2] * shape[-1]
    return wgsl.affine("batch", batch, tuple(s * each for s in strides))
