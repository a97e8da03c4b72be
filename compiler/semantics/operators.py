"""The meaning of each operator, in numpy: ONNX's by its reference implementation, and our own.

This is the oracle of folding, of the comparison of masks and of every test of a pass, so it is written to be obvious.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator

from intaglio.compiler.ir import dims
from intaglio.compiler.ir.errors import BadModel
from intaglio.compiler.ir.expression import Argument, Expression, operator
from intaglio.compiler.ir.nodes import OPSET, CacheWrite, Node, operands
from intaglio.compiler.ir.operators import (
    OWN,
    Attention,
    FakeQuantize,
    Linear,
    Prologue,
    Recurrent,
    Resample,
    Rotary,
    Window,
)
from intaglio.compiler.ir.values import DTYPES, TensorType, Value
from intaglio.compiler.semantics.convolution import convolve
from intaglio.compiler.semantics.erf import erf

KNOWN = frozenset({s.name for s in onnx.defs.get_all_schemas() if not s.domain} | OWN.keys())  # names of operators

_F32 = np.dtype(np.float32)
_UNTYPED = TensorType("f32", ())  # of values whose type numpy does not ask for


def proto(node: Node) -> onnx.NodeProto:
    """The node as ONNX writes it, its values named i0, i1, ... and o0, o1, ..."""
    ins = [f"i{k}" if v is not None else "" for k, v in enumerate(node.inputs)]
    attrs: dict[str, Any] = {
        k: onnx.numpy_helper.from_array(a) if isinstance(a, np.ndarray) else a for k, a in node.attrs.items()
    }
    return onnx.helper.make_node(node.op, ins, [f"o{k}" for k in range(len(node.outputs))], **attrs)


def evaluate(node: Node, inputs: Sequence[np.ndarray | None]) -> list[np.ndarray]:
    """The outputs of one node for what it reads, in the order of `node.reads`. Raises BadModel if it has none."""
    results = _results(node, inputs[: len(node.inputs)])
    return results if node.tail is None else [expression(node.tail.steps, results, inputs)]


def _results(node: Node, inputs: Sequence[np.ndarray | None]) -> list[np.ndarray]:
    """The outputs without what the tail does to them."""
    try:
        if node.own is not None:
            if node.op not in OURS:
                raise BadModel("no numpy function computes it")
            return OURS[node.op](node.own.with_inputs(dict(zip(node.inputs, inputs, strict=True))))
        if node.op in FAST:
            return FAST[node.op](node, inputs)
    except BadModel:
        raise
    except (IndexError, ValueError) as e:
        raise BadModel(f"it cannot be evaluated: {e}") from e
    return _by_reference(node, inputs)


def _by_reference(node: Node, inputs: Sequence[np.ndarray | None]) -> list[np.ndarray]:
    feeds = {f"i{k}": v for k, v in enumerate(inputs) if v is not None}
    try:
        results = ReferenceEvaluator(proto(node), opsets={"": OPSET}).run(None, feeds)
    except Exception as e:  # each operator of the reference implementation has errors of its own
        raise BadModel(f"it cannot be evaluated: {e}") from e
    return [np.asarray(y) for y in results]


def expression(steps: Expression, accs: Sequence[np.ndarray], inputs: Sequence[Any]) -> np.ndarray:
    """The value of a fused elementwise expression. `accs`: the results of its host, "acc" and perhaps "acc1"."""
    hosts = {f"acc{i or ''}": acc for i, acc in enumerate(accs)}
    done: list[np.ndarray] = []

    def argument(arg: Argument, like: np.dtype) -> np.ndarray:
        if not isinstance(arg, str):
            return np.array(arg, like)
        return hosts[arg] if arg in hosts else (inputs if arg[0] == "x" else done)[int(arg[1:])]

    for step in steps:
        op, attrs, args = operator(step)
        if op == "Cast":
            done.append(argument(args[0], _F32).astype(DTYPES[str(args[1])]))
            continue
        like = next((argument(a, _F32).dtype for a in reversed(args) if isinstance(a, str)), _F32)
        arrays = [None if a is None else argument(a, like) for a in args]
        values = operands(None if a is None else Value("", _UNTYPED) for a in arrays)
        done += evaluate(Node(op, values, (Value("", _UNTYPED),), attrs), arrays)
    return done[-1]


def _linear(layer: Linear[np.ndarray]) -> list[np.ndarray]:
    x = layer.x if layer.prologue is None else _normed(layer.x, layer.prologue)
    x = x if layer.window is None else _windows(x, layer.window)
    y = x @ layer.weight.T
    y = y if layer.bias is None else y + layer.bias
    if layer.gate:
        y = expression(layer.gate, np.split(y, 2, axis=-1), [])
    parts = np.split(y, np.cumsum(layer.splits)[:-1], axis=-1) if layer.splits else [y]
    if rotary := layer.rotary:
        cos, sin = (table[dims.fixed(rotary.at)] for table in (rotary.cos, rotary.sin))
        for i in rotary.outputs:
            heads = parts[i].reshape(*parts[i].shape[:-1], -1, rotary.head_dim)
            parts[i] = rotated(heads, cos, sin, rotary.interleaved).reshape(parts[i].shape)
    return _cached([p.astype(np.float32) for p in parts], layer.cached)


def _normed(x: np.ndarray, norm: Prologue[np.ndarray]) -> np.ndarray:
    x = x - x.mean(-1, keepdims=True) if norm.kind == "layernorm" else x
    shift = 0 if norm.shift is None else norm.shift
    return x / np.sqrt(np.square(x).mean(-1, keepdims=True) + norm.epsilon) * norm.scale + shift


def _cached(parts: list[np.ndarray], writes: tuple[CacheWrite[np.ndarray], ...]) -> list[np.ndarray]:
    """The outputs, those that are written into states with the rows before them."""
    for write in writes:
        parts[write.output] = _written(parts[write.output], write.state, dims.fixed(write.at))
    return parts


def _gather(node: Node, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
    return [np.take(inputs[0], inputs[1], axis=node.attrs.get("axis", 0))]


def _gather_elements(node: Node, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
    axis = node.attrs.get("axis", 0)
    return [np.take_along_axis(inputs[0], inputs[1] % inputs[0].shape[axis], axis)]


def _windows(x: np.ndarray, w: Window) -> np.ndarray:
    padded = np.pad(x, [(0, 0)] * (x.ndim - 2) + [(w.pad, w.pad), (0, 0)])
    count = (padded.shape[-2] - w.kernel) // w.stride + 1
    rows = [padded[..., t * w.stride : t * w.stride + w.kernel, :].reshape(*x.shape[:-2], -1) for t in range(count)]
    return np.stack(rows, axis=-2)


def _attention(a: Attention[np.ndarray]) -> list[np.ndarray]:
    q, (k, v) = split(a.q, a.heads), (x if x.ndim > a.q.ndim else split(x, a.kv_heads) for x in (a.k, a.v))
    k, v = (np.repeat(x, a.heads // a.kv_heads, axis=-3).astype(np.float32) for x in (k, v))
    scores = q @ k.swapaxes(-1, -2)  # written over where possible: it is the largest array of a run
    scores *= a.scale
    if a.cap:
        scores = np.tanh(scores / a.cap) * a.cap
    scores = expression(a.scored, [scores], []) if a.scored else scores
    if a.mask is not None:
        scores = scores + a.mask
    if a.past is not None:
        t, s = np.arange(q.shape[-2])[:, None], np.arange(k.shape[-2])[None]
        last = a.past + t
        if a.bias is not None:
            scores += a.bias.table[:, np.maximum(last - s, 0) if a.bias.by == "distance" else s]
        hidden = s > last if a.window is None else (s > last) | (s <= last - a.window)
        np.copyto(scores, -np.inf, where=hidden)
    scores = expression(a.masked, [scores], []) if a.masked else scores
    weights = _softmax_of(scores, -1, out=scores)
    weights = expression(a.weighed, [weights], []) if a.weighed else weights
    return [(weights @ v).swapaxes(-2, -3).reshape(a.q.shape).astype(np.float32)]


def _rotary(rotary: Rotary[np.ndarray]) -> list[np.ndarray]:
    results = []
    for i, (x, count) in enumerate(zip(rotary.rows, rotary.heads, strict=True)):
        rows, y = slice(rotary.past, rotary.past + x.shape[1]), split(x, count)
        if norm := rotary.norm:
            y = y / np.sqrt(np.square(y).mean(-1, keepdims=True) + norm.epsilon) * norm.scales[i]
        y = rotated(y, rotary.cos[rows], rotary.sin[rows], rotary.interleaved)
        results.append(y.swapaxes(-2, -3).reshape(x.shape))
    return _cached(results, rotary.cached)


def rotated(x: np.ndarray, cos: np.ndarray, sin: np.ndarray, interleaved: bool) -> np.ndarray:
    """x[..., T, head_dim] with each pair of its first columns rotated by an angle: cos and sin are [T, pairs].

    A pair is two neighbouring columns (interleaved), or the same column of the first and the second half.
    """
    pairs = cos.shape[-1]
    at = np.arange(pairs)
    a, b = (2 * at, 2 * at + 1) if interleaved else (at, at + pairs)
    y = x.copy()
    y[..., a] = x[..., a] * cos - x[..., b] * sin
    y[..., b] = x[..., b] * cos + x[..., a] * sin
    return y


def split(x: np.ndarray, heads: int) -> np.ndarray:
    """[..., T, H*D] -> [..., H, T, D]."""
    return x.reshape(*x.shape[:-1], heads, -1).swapaxes(-2, -3)


def _written(new: np.ndarray, state: np.ndarray, at: int) -> np.ndarray:
    rows = at + new.shape[-2]
    new = new if new.ndim == state.ndim else split(new, state.shape[-3])
    return np.concatenate([state[..., :at, :], new.astype(state.dtype)], axis=-2)[..., :rows, :]


def _gelu(node: Node, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
    (x,) = inputs
    if node.attrs.get("approximate") == "tanh":
        return [(0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))).astype(x.dtype)]
    return [(0.5 * x * (1 + erf((x * math.sqrt(0.5)).astype(x.dtype)))).astype(x.dtype)]


def _resample(of: Resample[np.ndarray]) -> list[np.ndarray]:
    rows = np.moveaxis(of.x, of.axis, -1)[..., of.places] * of.weights
    return [np.moveaxis(rows.sum(-1), -1, of.axis).astype(of.x.dtype)]


def _recurrent(layer: Recurrent[np.ndarray]) -> list[np.ndarray]:
    steps, batch, directions, gates, hidden = layer.taken.shape
    r = layer.weight.swapaxes(-3, -2).reshape(directions, gates, hidden, -1)[..., :hidden]
    y, states = np.zeros((steps, directions, batch, hidden), np.float32), layer.initial.copy()
    for d, b in np.ndindex(directions, batch):
        count = int(layer.lengths[b])
        backward = layer.direction == "reverse" or d == 1
        for t in range(count)[::-1] if backward else range(count):
            state, own = states[d::directions, b], None if layer.extra is None else layer.extra[d]
            states[d::directions, b] = _cell(layer, layer.taken[t, b, d], r[d], state, own)
            y[t, d, b] = states[d, b]
    return [y, states]


def _cell(
    layer: Recurrent[np.ndarray], x: np.ndarray, r: np.ndarray, state: np.ndarray, extra: np.ndarray | None
) -> list[np.ndarray]:
    """The states of a cell after one step."""

    def activation(i: int, value: np.ndarray) -> np.ndarray:
        name, *parameters = layer.activations[i]
        clip = layer.clip or np.inf
        attrs: dict[str, Any] = dict(zip(("alpha", "beta"), parameters, strict=False))
        value = np.clip(value, -clip, clip, dtype=np.float32)
        if name in ("Affine", "ScaledTanh"):
            a, b = parameters
            return a * value + b if name == "Affine" else a * np.tanh(b * value)
        return evaluate(Node(name, (Value("", _UNTYPED),), (Value("", _UNTYPED),), attrs), [value])[0]

    h = state[0]
    products = r @ (_rounded(h) if layer.rounded else h)
    if layer.cell == "RNN":
        return [activation(0, x[0] + products[0])]
    if layer.cell == "GRU":
        update, reset = activation(0, x[0] + products[0]), activation(0, x[1] + products[1])
        inner = reset * (products[2] + extra) if layer.after else r[2] @ (reset * h)
        return [(1 - update) * activation(1, x[2] + inner) + update * h]
    p = np.zeros((3, len(h)), np.float32) if extra is None else extra.reshape(3, -1)
    i, o, f, c = x + products
    i = activation(0, i + p[0] * state[1])
    f = 1 - i if layer.coupled else activation(0, f + p[2] * state[1])
    c = f * state[1] + i * activation(1, c)
    return [activation(0, o + p[1] * c) * activation(2, c), c]


def _softmax(node: Node, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
    return [_softmax_of(inputs[0], node.attrs.get("axis", -1))]


def _softmax_of(x: np.ndarray, axis: int, out: np.ndarray | None = None) -> np.ndarray:
    e = np.subtract(x, x.max(axis, keepdims=True), out=out)
    np.exp(e, out=e)
    e /= e.sum(axis, keepdims=True)
    return e


def _fake_quantize(rounding: FakeQuantize[np.ndarray]) -> list[np.ndarray]:
    """As ONNX defines QuantizeLinear, or DynamicQuantizeLinear, and back."""
    x, scale, zero = rounding.x, rounding.scale, rounding.zero
    if scale is not None:
        with np.errstate(over="ignore"):  # infinite numbers have an end as well
            codes = np.clip(np.rint(x / scale) + zero, rounding.low, rounding.high)
        return [((codes - zero) * scale).astype(np.float32)]
    return [_rounded(x)]


def _rounded(x: np.ndarray) -> np.ndarray:
    """Return x rounded to the nearest of 256 numbers that cover its range and 0."""
    least, greatest = min(x.min(), np.float32(0)), max(x.max(), np.float32(0))
    scale = (greatest - least) / np.float32(255) or np.float32(1)
    zero = np.clip(np.rint(-least / scale), 0, 255)
    return (np.clip(np.rint(x / scale) + zero, 0, 255) - zero) * scale


def _rms_norm(node: Node, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
    x, scale = inputs[:2]
    axes = tuple(range(node.attrs.get("axis", -1) % x.ndim, x.ndim))
    mean = np.mean(np.square(x, dtype=np.float32), axes, keepdims=True)
    return [(x / np.sqrt(mean + node.attrs.get("epsilon", 1e-5)) * scale).astype(x.dtype)]


# Our own operators, their operands arrays.
OURS: dict[str, Callable[[Any], list[np.ndarray]]] = {
    "Attention": _attention,
    "Elementwise": lambda node: [expression(node.steps, [], node.operands)],
    "FakeQuantize": _fake_quantize,
    "Linear": _linear,
    "Recurrent": _recurrent,
    "Resample": _resample,
    "Rotary": _rotary,
    "Write": lambda node: [_written(node.rows, node.state, node.at)],
}

# Operators of ONNX that its reference implementation lacks or computes slowly, or in another precision.
FAST: dict[str, Callable[[Node, Sequence[Any]], list[np.ndarray]]] = {
    "Cast": lambda node, inputs: [inputs[0].astype(DTYPES[node.attrs["to"]])],
    "Conv": convolve,
    "Erf": lambda node, inputs: [erf(inputs[0])],
    "Gather": _gather,
    "GatherElements": _gather_elements,
    "Gelu": _gelu,
    "RMSNormalization": _rms_norm,
    "Softmax": _softmax,
}
