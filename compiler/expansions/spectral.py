"""Fourier transforms as products with a matrix of roots of unity, which suits the lengths that audio frames have."""

from __future__ import annotations

import numpy as np

from intaglio.compiler.ir.dims import fixed
from intaglio.compiler.ir.nodes import Node
from intaglio.compiler.ir.values import DTYPES, Value
from intaglio.compiler.rewrite.builder import GraphBuilder
from intaglio.compiler.semantics.spectrum import frames, transform

_MOST = 1 << 24  # elements of a matrix: a transform of some 2,000 complex numbers


def _dft(op: GraphBuilder, node: Node) -> list[Value] | None:
    x, t, rank = node.inputs[0], transform(node), len(node.inputs[0].shape)
    if not isinstance(t.size, int) or not isinstance(t.length, int) or 4 * t.size * t.length > _MOST:
        return None
    length, inverse = min(t.size, t.length), bool(node.attrs.get("inverse"))
    matrix = _to_real(t.length) if t.parts == 1 else _roots(t.length, inverse)
    length = min(length, len(matrix))
    matrix = matrix[:length, : x.shape[-1], : t.count]
    perm = [*(a for a in range(rank - 1) if a != t.axis), t.axis, rank - 1]
    part = op.Slice(x, op.integers(0), op.integers(length), op.integers(t.axis))
    rows = op.Transpose(part, perm=perm)
    rows = op.Reshape(rows, op.dimensions(*rows.shape[:-2], length * x.shape[-1]))
    table = matrix.reshape(length * fixed(x.shape[-1]), fixed(t.count) * t.parts).astype(DTYPES[x.dtype])
    y = op.MatMul(rows, op.constant(table))
    y = op.Reshape(y, op.dimensions(*y.shape[:-1], t.count, t.parts))
    return [op.Transpose(y, perm=np.argsort(perm).tolist())]


def _roots(length: int, inverse: bool) -> np.ndarray:
    """What each part of each of `length` complex numbers adds to each part of the result: [length, 2, length, 2]."""
    turns = np.outer(np.arange(length), np.arange(length)) % length / length
    w = np.exp((2j if inverse else -2j) * np.pi * turns) / (length if inverse else 1)
    return np.stack([np.stack([w.real, w.imag], -1), np.stack([-w.imag, w.real], -1)], 1)


def _to_real(length: int) -> np.ndarray:
    """The same for the inverse to `length` real numbers, from the first half of a spectrum: [bins, 2, length, 1]."""
    bins = np.arange(length // 2 + 1)
    twice = np.where((bins == 0) | (2 * bins == length), 1, 2)[:, None, None, None]
    return twice * _roots(length, inverse=True)[: len(bins), :, :, :1]


def _stft(op: GraphBuilder, node: Node) -> list[Value] | None:
    """Frames are the windows of a convolution, whose weight is the window times the roots of unity."""
    (size, step, count), signal, window = frames(node), node.inputs[0], node.input(2)
    bins, parts = fixed(node.output.shape[2]), fixed(signal.shape[2])
    if 4 * size * size > _MOST:
        return None
    roots = _roots(size, inverse=False)[:, :parts, :bins].transpose(2, 3, 1, 0)
    weight = op.constant(roots.reshape(2 * bins, parts, size).astype(DTYPES[signal.dtype]))
    weight = op.Mul(weight, window) if window is not None else weight
    y = op.Conv(op.Transpose(signal, perm=[0, 2, 1]), weight, strides=[step])
    return [op.Reshape(op.Transpose(y, perm=[0, 2, 1]), op.dimensions(signal.shape[0], count, bins, 2))]


EXPANSIONS = {"DFT": _dft, "STFT": _stft}
