"""Products of two tensors that are both computed at run time, batch by batch."""

from __future__ import annotations

from intaglio.codegen import wgsl
from intaglio.codegen.kernel import MAX_TRIPS, Kernel, groups, op, operand, refuse, wgsl_type
from intaglio.compiler import dims
from intaglio.compiler.dims import Dim
from intaglio.compiler.ir import Node
from intaglio.compiler.types import broadcast


@op("MatMul")
def matmul(node: Node) -> Kernel:
    a, b = node.inputs
    left = (1, *a.shape) if len(a.shape) == 1 else a.shape
    right = (*b.shape, 1) if len(b.shape) == 1 else b.shape
    m, k, n = left[-2], left[-1], right[-1]
    if dims.high(k) > MAX_TRIPS:
        raise refuse(node, f"{k} columns")
    size = node.output.type.size
    batch = broadcast(left[:-2], right[:-2]) if len(left) + len(right) > 4 else ()
    consts = {
        "size": wgsl.size(size),
        "type": wgsl_type(node.output.type),
        "m": wgsl.size(m),
        "n": wgsl.size(n),
        "k": wgsl.size(k),
        "a_index": _matrix(left, batch),
        "b_index": _matrix(right, batch),
    }
    reads = {"a": operand(a), "b": operand(b)}
    grid = (groups(size, per=64),)
    return Kernel(
        "matmul_batched", reads, {"out": node.output}, grid, (64,), consts, "matmul_batched", flops=size * 2 * k
    )


def _matrix(shape: tuple[Dim, ...], batch: tuple[Dim, ...]) -> str:
    """Where the matrix of `batch` begins."""
    strides = wgsl.broadcast_strides(shape[:-2], batch)
    each = shape[-2] * shape[-1]
    return wgsl.affine("batch", batch, tuple(s * each for s in strides))
