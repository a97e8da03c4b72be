"""Weights of 2 to 8 bits in blocks, which have a scale each, and perhaps a zero point: as ONNX's DequantizeLinear."""

from __future__ import annotations

import math

import ml_dtypes
import numpy as np

from intaglio.compiler.ir.encoded import EncodedWeight, dequantize
from intaglio.compiler.ir.errors import BadModel, UnsupportedOperator
from intaglio.compiler.ir.memory_mapped import moved
from intaglio.compiler.ir.nodes import Node
from intaglio.compiler.ir.values import FLOATS, Value
from intaglio.compiler.rewrite.builder import GraphBuilder

Results = list[Value | None]
_CODES = {2: ml_dtypes.uint4, 4: ml_dtypes.uint4, 8: np.uint8}
# What the codes of bitsandbytes stand for, as parts of a block's largest number (Dettmers et al. 2023, appendix E).
_FP4 = [0.0, 5.208333333e-03, 2 / 3, 1.0, 1 / 3, 1 / 2, 1 / 6, 1 / 4]
_NF4 = """-1.0 -0.6961928009986877 -0.5250730514526367 -0.39491748809814453 -0.28444138169288635 -0.18477343022823334
-0.09105003625154495 0.0 0.07958029955625534 0.16093020141124725 0.24611230194568634 0.33791524171829224
0.44070982933044434 0.5626170039176941 0.7229568362236023 1.0"""
_TABLES = [np.array(numbers, np.float32) for numbers in (_FP4 + [-x for x in _FP4], _NF4.split())]


def _matmul(op: GraphBuilder, node: Node) -> Results:
    """accuracy_level allows to round x; that is not used here."""
    x, codes, scales, zero, group = *node.inputs[:3], node.input(3), node.input(4)
    n, k, bits, block = (node.attrs[name] for name in ("N", "K", "bits", "block_size"))
    groups = -(-k // block)
    weight = _numbers(codes, bits, (n, groups * block))[:, :k]
    if group is not None:
        order = _order(group, k, block)
        x, weight = op.Gather(x, op.constant(order), axis=-1), moved(weight[:, order])
    scale = op.Reshape(scales, op.integers(n, groups))
    if zero is not None and zero.dtype in FLOATS:
        y = _between_integers(op, x, weight, scale, op.Reshape(zero, op.integers(n, groups)), block)
    else:
        points = op.constant(_points(zero, bits, (n, groups)))
        rows = op.DequantizeLinear(op.constant(weight, codes.name), scale, points, axis=1, block_size=block)
        y = op.MatMul(x, op.Transpose(rows, perm=[1, 0]))
    return [op.Add(y, node.inputs[5]) if node.input(5) is not None else y]


def _between_integers(op: GraphBuilder, x: Value, weight: np.ndarray, scale: Value, zero: Value, block: int) -> Value:
    """The product with a weight whose zero points are not integers; ONNX's DequantizeLinear lacks that."""
    if scale.const is None or zero.const is None:
        raise UnsupportedOperator("scales and zero points must be constants of the model")
    points = zero.array.astype(np.float32)
    rows = dequantize(weight, scale.array, points, {"axis": 1, "block_size": block})
    return op.Cast(op.MatMul(op.Cast(x, to="f32"), op.constant(rows.T)), to=x.dtype)


def _order(group: Value, k: int, block: int) -> np.ndarray:
    """The order of the columns that puts those of each group together, from the group of each one (act-order)."""
    if group.const is None:
        raise UnsupportedOperator("g_idx must be a constant of the model")
    index = group.array.reshape(-1)[:k]
    order = np.argsort(index, kind="stable")
    if not np.array_equal(index[order], np.arange(k) // block):
        raise UnsupportedOperator("g_idx must make groups of equal size")
    return order


def _bitsandbytes(op: GraphBuilder, node: Node) -> Results:
    """Codes with uneven steps. No kernel unpacks them, so the weight takes 16 bits per number."""
    x, codes, largest = node.inputs[:3]
    n, k, block = (node.attrs[name] for name in ("N", "K", "block_size"))
    if codes.const is None or largest.const is None or not node.attrs.get("transB", 1):
        raise UnsupportedOperator("weights must be constants of the model, and transposed (transB=1)")
    if (codes.const.size, largest.const.size) != (-(-n * k // 2), -(-n * k // block)):
        raise BadModel(f"{codes} and {largest} do not have the size of {n} rows of {k} numbers in blocks of {block}")
    octets = codes.array.reshape(-1)
    table = _TABLES[node.attrs["quant_type"]]
    values = table[np.stack([octets >> 4, octets & 15], axis=-1).reshape(-1)[: n * k]]
    values *= np.repeat(largest.array.reshape(-1).astype(np.float32), min(block, n * k))[: n * k]
    weight = moved(values.reshape(n, k).astype(np.float16))
    if not np.isfinite(weight).all():
        raise UnsupportedOperator("a weight is outside the range of f16; quantize the model another way")
    rows = op.constant(weight if x.dtype == "f16" else EncodedWeight(weight), codes.name)
    return [op.MatMul(x, op.Transpose(rows, perm=[1, 0]))]


def _numbers(value: Value, bits: int, shape: tuple[int, ...]) -> np.ndarray:
    """Numbers of so many bits along the last axis of a constant of bytes, the first one low; the last byte may be half
    empty.
    """
    if value.const is None or bits not in _CODES:
        raise UnsupportedOperator(f"weights must be constants of 2, 4 or 8 bits, got {bits} bits")
    rows, columns = math.prod(shape[:-1]), shape[-1]
    if value.const.size != rows * -(-columns * bits // 8):
        raise BadModel(f"{value} does not have the size of {list(shape)} numbers of {bits} bits")
    octets = value.array.reshape(rows, -1)
    parts = [octets >> shift & ((1 << bits) - 1) for shift in range(0, 8, bits)]
    octets = np.stack(parts, axis=-1).reshape(rows, -1)[:, :columns] if len(parts) > 1 else octets
    return moved(octets.reshape(shape).astype(_CODES[bits]))


def _points(zero: Value | None, bits: int, shape: tuple[int, ...]) -> np.ndarray:
    """The zero points; by default the middle of the range."""
    return np.full(shape, 1 << (bits - 1), _CODES.get(bits)) if zero is None else _numbers(zero, bits, shape)


def _gather(op: GraphBuilder, node: Node) -> Results:
    data, indices, scales, zero = *node.inputs[:3], node.input(3)
    axis, along = node.attrs.get("gather_axis", 0), node.attrs.get("quantize_axis", 1)
    block, bits = node.attrs.get("block_size", 128), node.attrs.get("bits", 4)
    if data.dtype == "u8":
        *rows, columns = data.fixed_shape
        shape = (*rows, columns * 8 // bits)
        zero = op.constant(_points(zero, bits, scales.fixed_shape))
        data = op.constant(_numbers(data, bits, shape), data.name)
    points = (zero,) if zero is not None else ()
    return [op.Gather(op.DequantizeLinear(data, scales, *points, axis=along, block_size=block), indices, axis=axis)]


CONTRIB = {"GatherBlockQuantized": _gather, "MatMulBnb4": _bitsandbytes, "MatMulNBits": _matmul}
