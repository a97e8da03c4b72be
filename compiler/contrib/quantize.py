"""Weights of 2 to 8 bits in blocks, which have a scale each, and perhaps a zero point: as ONNX's DequantizeLinear."""

from __future__ import annotations

import math

import ml_dtypes
import numpy as np

from intaglio.compiler.contrib.refuse import refuse_inputs
from intaglio.compiler.ir import BadModel, Node, UnsupportedOperator, Value
from intaglio.compiler.mapped import moved
from intaglio.compiler.pattern import GraphBuilder

Results = list[Value | None]
_CODES = {4: ml_dtypes.uint4, 8: np.uint8}


def _matmul(op: GraphBuilder, node: Node) -> Results:
    """accuracy_level says how roughly x may be taken, which it is not here."""
    refuse_inputs(node, g_idx=4)
    x, codes, scales, zero = *node.inputs[:3], node.input(3)
    n, k, bits, block = (node.attrs[name] for name in ("N", "K", "bits", "block_size"))
    if zero is not None and zero.dtype != "u8":
        raise UnsupportedOperator("with zero points that are no integers it is not known")
    groups = -(-k // block)
    weight = _numbers(codes, bits, (n, groups * block))[:, :k]
    points = _points(zero, bits, (n, groups))
    scale = op.Reshape(scales, op.integers(n, groups))
    constants = op.constant(weight, codes.name), scale, op.constant(points)
    rows = op.DequantizeLinear(*constants, axis=1, block_size=block)
    y = op.MatMul(x, op.Transpose(rows, perm=[1, 0]))
    return [op.Add(y, node.inputs[5]) if node.input(5) is not None else y]


def _numbers(value: Value, bits: int, shape: tuple[int, ...]) -> np.ndarray:
    """Numbers of so many bits along the last axis of a constant of bytes, the first one low; the last byte may be half
    empty.
    """
    if value.const is None or bits not in _CODES:
        raise UnsupportedOperator(f"with {bits} bits, or weights that are computed, it is not known")
    rows, columns = math.prod(shape[:-1]), shape[-1]
    if value.const.size != rows * -(-columns * bits // 8):
        raise BadModel(f"{value} does not hold {list(shape)} numbers of {bits} bits")
    octets = value.const.reshape(rows, -1)
    if bits == 4:
        octets = np.stack([octets & 15, octets >> 4], axis=-1).reshape(rows, -1)[:, :columns]
    return moved(octets.reshape(shape).astype(_CODES[bits]))


def _points(zero: Value | None, bits: int, shape: tuple[int, ...]) -> np.ndarray:
    """Zero points; without them the middle."""
    return np.full(shape, 1 << (bits - 1), _CODES.get(bits)) if zero is None else _numbers(zero, bits, shape)


def _gather(op: GraphBuilder, node: Node) -> Results:
    data, indices, scales, zero = *node.inputs[:3], node.input(3)
    axis, along = node.attrs.get("gather_axis", 0), node.attrs.get("quantize_axis", 1)
    block, bits = node.attrs.get("block_size", 128), node.attrs.get("bits", 4)
    if data.dtype == "u8":
        shape = (*data.shape[:-1], data.shape[-1] * 8 // bits)
        zero = op.constant(_points(zero, bits, scales.shape))
        data = op.constant(_numbers(data, bits, shape), data.name)
    points = (zero,) if zero is not None else ()
    return [op.Gather(op.DequantizeLinear(data, scales, *points, axis=along, block_size=block), indices, axis=axis)]


CONTRIB = {"GatherBlockQuantized": _gather, "MatMulNBits": _matmul}
