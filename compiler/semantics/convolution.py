"""Convolutions in numpy: a product for each element of the window, because all windows together fill the memory."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from intaglio.compiler.ir.dims import fixed
from intaglio.compiler.ir.nodes import Node
from intaglio.compiler.ir.values import Value, type_of
from intaglio.compiler.semantics.windows import windows


def convolve(node: Node, inputs: Sequence[Any]) -> list[np.ndarray]:
    """Return x [batch, channels, ...] convolved with weight [out, channels / group, ...], plus bias [out]."""
    x, weight, bias = inputs[0], inputs[1], inputs[2] if len(inputs) > 2 else None
    values = tuple(Value("", type_of(a)) for a in (x, weight))
    slid = windows(Node("Conv", values, node.outputs, node.attrs))
    group, out = node.attrs.get("group", 1), len(weight)
    pads = [(fixed(w.before), fixed(w.after)) for w in slid]
    padded = np.pad(x, [(0, 0), (0, 0), *((max(before, 0), max(after, 0)) for before, after in pads)])
    count = [fixed(w.count) for w in slid]
    weights = weight.reshape(group, out // group, x.shape[1] // group, *weight.shape[2:])
    y = np.zeros((len(x), group, out // group, int(np.prod(count))), x.dtype)
    for tap in itertools.product(*(range(w.kernel) for w in slid)):
        spans = tuple(
            slice(t * w.dilation - min(before, 0), t * w.dilation - min(before, 0) + w.stride * (n - 1) + 1, w.stride)
            for t, w, n, (before, _) in zip(tap, slid, count, pads, strict=True)
        )
        columns = padded[(..., *spans)].reshape(len(x), group, x.shape[1] // group, -1)
        y += weights[(..., *tap)] @ columns
    y = y.reshape(len(x), out, *count)
    return [y if bias is None else y + bias.reshape(-1, *[1] * len(count))]
