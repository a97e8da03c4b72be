"""Products of two tensors that are both computed at run time, batch by batch."""

from __future__ import annotations

from intaglio.codegen import wgsl
from intaglio.codegen.kernel import MAX_TRIPS, Kernel, groups, op, operand, refuse
from intaglio.compiler import dims
from intaglio.compiler.ir import Node, Value


@op("MatMul")
def matmul(node: Node) -> Kernel:
    a, b = node.inputs
    if a.dtype != "f32" or len(a.shape) < 2 or len(b.shape) < 2:
        raise refuse(node, f"{a.type} times {b.type}")
    m, k, n = a.shape[-2], a.shape[-1], b.shape[-1]
    if dims.high(k) > MAX_TRIPS:
        raise refuse(node, f"{k} columns")
    size = node.output.type.size
    consts = {
        "size": wgsl.size(size),
        "m": wgsl.size(m),
        "n": wgsl.size(n),
        "k": wgsl.size(k),
        "a_index": _matrix(a, node.output),
        "b_index": _matrix(b, node.output),
    }
    reads = {"a": operand(a), "b": operand(b)}
    grid = (groups(size, per=64),)
    return Kernel("matmul_batched", reads, {"out": node.output}, grid, (64,), consts, "matmul_batched", flops=size * 2 * k)


def _matrix(value: Value, out: Value) -> str:
    """Where the matrix of `batch` begins."""
    strides = wgsl.broadcast_strides(value.shape[:-2], out.shape[:-2])
    each = value.shape[-2] * value.shape[-1]
    return wgsl.affine("batch", out.shape[:-2], tuple(s * each for s in strides))
