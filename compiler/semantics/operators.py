"""What a node computes, in numpy: ONNX's operators by its reference implementation, and the few that are our own.

This is the oracle of folding, of the comparison of masks and of every test of a pass, so it is written to be obvious.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator

from intaglio.compiler.ir.errors import BadModel
from intaglio.compiler.ir.expression import Expression, operator
from intaglio.compiler.ir.graph import DTYPES, OPSET, Node, Value
from intaglio.compiler.semantics.erf import erf


def proto(node: Node) -> onnx.NodeProto:
    """The node as ONNX writes it, its values named i0, i1, ... and o0, o1, ..."""
    ins = [f"i{k}" if v is not None else "" for k, v in enumerate(node.inputs)]
    attrs = {k: onnx.numpy_helper.from_array(a) if isinstance(a, np.ndarray) else a for k, a in node.attrs.items()}
    return onnx.helper.make_node(node.op, ins, [f"o{k}" for k in range(len(node.outputs))], **attrs)


def evaluate(node: Node, inputs: list[np.ndarray | None]) -> list[np.ndarray]:
    """The outputs of one node for concrete inputs. Raises BadModel if it has none."""
    if node.op in OWN:
        try:
            return OWN[node.op](node, inputs)
        except BadModel:
            raise
        except (IndexError, ValueError) as e:
            raise BadModel(f"it cannot be evaluated: {e}") from e
    return _by_reference(node, inputs)


def _by_reference(node: Node, inputs: list[np.ndarray | None]) -> list[np.ndarray]:
    feeds = {f"i{k}": v for k, v in enumerate(inputs) if v is not None}
    try:
        results = ReferenceEvaluator(proto(node), opsets={"": OPSET}).run(None, feeds)
    except Exception as e:  # each operator of the reference implementation has errors of its own
        raise BadModel(f"it cannot be evaluated: {e}") from e
    return [np.asarray(y) for y in results]


def expression(steps: Expression, accs: list[np.ndarray], inputs: list[np.ndarray | None]) -> np.ndarray:
    """The value of a fused elementwise expression; `accs`: what its host made, "acc" and perhaps "acc1"."""
    made = {f"acc{i or ''}": acc for i, acc in enumerate(accs)}
    done: list[np.ndarray] = []

    def argument(arg: str | float | None, like: np.dtype) -> np.ndarray | None:
        if not isinstance(arg, str):
            return None if arg is None else np.array(arg, like)
        return made[arg] if arg in made else (inputs if arg[0] == "x" else done)[int(arg[1:])]

    for step in steps:
        op, attrs, args = operator(step)
        if op == "Cast":
            done.append(argument(args[0], np.float32).astype(DTYPES[args[1]]))
            continue
        like = next((argument(a, np.float32).dtype for a in reversed(args) if isinstance(a, str)), np.dtype(np.float32))
        arrays = [argument(a, like) for a in args]
        values = tuple(None if a is None else Value("", None) for a in arrays)
        done += evaluate(Node(op, values, (Value("", None),), attrs), arrays)
    return done[-1]


def _linear(node: Node, inputs: list[np.ndarray | None]) -> list[np.ndarray]:
    x, weight = inputs[0], inputs[1]
    if norm := node.attrs.get("norm"):
        scale, shift = inputs[norm["scale"]], inputs[norm["shift"]] if norm["shift"] else 0
        x = x - x.mean(-1, keepdims=True) if norm["kind"] == "layernorm" else x
        x = x / np.sqrt(np.square(x).mean(-1, keepdims=True) + norm["epsilon"]) * scale + shift
    if window := node.attrs.get("window"):
        x = _windows(x, *window)
    y = x @ weight.T
    if len(inputs) > 2 and inputs[2] is not None:
        y = y + inputs[2]
    if tail := node.attrs.get("tail"):
        accs = np.split(y, 2, axis=-1) if node.attrs.get("paired") else [y]
        y = expression(tail, accs, inputs)
    parts = np.split(y, np.cumsum(node.attrs["splits"])[:-1], axis=-1) if "splits" in node.attrs else [y]
    if rotary := node.attrs.get("rotary"):
        cos, sin = (table[node.attrs["at"]] for table in inputs[rotary["tables"] : rotary["tables"] + 2])
        for i in rotary["outputs"]:
            heads = parts[i].reshape(*parts[i].shape[:-1], -1, 2 * len(cos))
            parts[i] = rotated(heads, cos, sin, interleaved=False).reshape(parts[i].shape)
    for i, state in enumerate(node.attrs.get("states", ())):
        if state:
            parts[i] = _written(parts[i], inputs[state], node.attrs["at"])
    states = node.attrs.get("states", (0,) * len(parts))
    return [p if state else p.astype(np.float32) for p, state in zip(parts, states, strict=True)]


def _convolution(node: Node, inputs: list[np.ndarray | None]) -> list[np.ndarray]:
    attrs = {k: v for k, v in node.attrs.items() if k != "tail"}
    (y,) = _by_reference(Node(node.op, node.inputs[:3], node.outputs, attrs), inputs[:3])
    return [expression(node.attrs["tail"], [y], inputs) if "tail" in node.attrs else y]


def _gather(node: Node, inputs: list[np.ndarray | None]) -> list[np.ndarray]:
    rows = np.take(inputs[0], inputs[1], axis=node.attrs.get("axis", 0))
    return [expression(node.attrs["tail"], [rows], inputs) if "tail" in node.attrs else rows]


def _gather_elements(node: Node, inputs: list[np.ndarray | None]) -> list[np.ndarray]:
    axis = node.attrs.get("axis", 0)
    return [np.take_along_axis(inputs[0], inputs[1] % inputs[0].shape[axis], axis)]


def _windows(x: np.ndarray, kernel: int, stride: int, pad: int) -> np.ndarray:
    """Rows of `kernel` consecutive rows of x[..., T, C], every `stride`, with `pad` rows of zeros at both ends."""
    padded = np.pad(x, [(0, 0)] * (x.ndim - 2) + [(pad, pad), (0, 0)])
    count = (padded.shape[-2] - kernel) // stride + 1
    rows = [padded[..., t * stride : t * stride + kernel, :].reshape(*x.shape[:-2], -1) for t in range(count)]
    return np.stack(rows, axis=-2)


def _attention(node: Node, inputs: list[np.ndarray | None]) -> list[np.ndarray]:
    a = node.attrs
    q, k, v = (split(x, h) for x, h in zip(inputs[:3], (a["heads"], a["kv_heads"], a["kv_heads"]), strict=True))
    k, v = (np.repeat(x, a["heads"] // a["kv_heads"], axis=-3).astype(np.float32) for x in (k, v))
    scores = q @ k.swapaxes(-1, -2) * a["scale"]
    if cap := a.get("cap"):
        scores = np.tanh(scores / cap) * cap
    scores = expression(a["scored"], [scores], []) if "scored" in a else scores
    if len(inputs) > 3 and inputs[3] is not None:
        scores = scores + inputs[3]
    if a.get("past") is not None:
        t, s = np.arange(q.shape[-2])[:, None], np.arange(k.shape[-2])[None]
        last = a["past"] + t
        scores = np.where((s <= last) & (s > last - a.get("window", k.shape[-2])), scores, -np.inf)
    scores = expression(a["masked"], [scores], []) if "masked" in a else scores
    weights = _softmax(node, [scores])[0]
    weights = expression(a["weighed"], [weights], []) if "weighed" in a else weights
    y = weights @ v
    return [y.swapaxes(-2, -3).reshape(inputs[0].shape).astype(np.float32)]


def _rotary(node: Node, inputs: list[np.ndarray | None]) -> list[np.ndarray]:
    """Each of several rows [1, T, heads * head_dim] rotated, some of them written into a state."""
    (cos, sin, *rest), heads, past = inputs, node.attrs["heads"], node.attrs["past"]
    results = []
    norm, states = node.attrs.get("norm"), node.attrs.get("states", (0,) * len(heads))
    for i, (x, count, state) in enumerate(zip(rest, heads, states, strict=False)):
        rows, y = slice(past, past + x.shape[1]), split(x, count)
        if norm is not None:
            mean = np.square(y).mean(-1, keepdims=True)
            y = y / np.sqrt(mean + norm["epsilon"]) * inputs[norm["scales"][i]]
        y = rotated(y, cos[rows], sin[rows], node.attrs["interleaved"])
        y = y.swapaxes(-2, -3).reshape(x.shape)
        results.append(_written(y, inputs[state], past) if state else y)
    return results


def rotated(x: np.ndarray, cos: np.ndarray, sin: np.ndarray, interleaved: bool) -> np.ndarray:
    """x[..., T, head_dim] with each pair of its first columns turned by an angle: cos and sin are [T, pairs].

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
    return np.concatenate([state[..., :at, :], new.astype(state.dtype)], axis=-2)[..., :rows, :]


def _gelu(node: Node, inputs: list[np.ndarray | None]) -> list[np.ndarray]:
    (x,) = inputs
    if node.attrs.get("approximate") == "tanh":
        return [(0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))).astype(x.dtype)]
    return [(0.5 * x * (1 + erf((x * math.sqrt(0.5)).astype(x.dtype)))).astype(x.dtype)]


def _resample(node: Node, inputs: list[np.ndarray | None]) -> list[np.ndarray]:
    x, places, weights = inputs
    rows = np.moveaxis(x, node.attrs["axis"], -1)[..., places] * weights
    return [np.moveaxis(rows.sum(-1), -1, node.attrs["axis"]).astype(x.dtype)]


def _recurrent(node: Node, inputs: list[np.ndarray | None]) -> list[np.ndarray]:
    """A recurrent layer whose gates have taken their part of the input: see compiler/expansions/recurrent.py."""
    taken, packed, initial, lengths, extra = inputs
    steps, batch, directions, gates, hidden = taken.shape
    r = packed.swapaxes(-3, -2).reshape(directions, gates, hidden, -1)[..., :hidden]
    y, states = np.zeros((steps, directions, batch, hidden), np.float32), initial.copy()
    for d, b in np.ndindex(directions, batch):
        count = int(lengths[b])
        backward = node.attrs["direction"] == "reverse" or d == 1
        for t in range(count)[::-1] if backward else range(count):
            state, own = states[d::directions, b], None if extra is None else extra[d]
            states[d::directions, b] = _cell(node, taken[t, b, d], r[d], state, own)
            y[t, d, b] = states[d, b]
    return [y, states]


def _cell(node: Node, x: np.ndarray, r: np.ndarray, state: np.ndarray, extra: np.ndarray | None) -> list[np.ndarray]:
    """The states of a cell after one step."""

    def activation(i: int, value: np.ndarray) -> np.ndarray:
        name, *parameters = node.attrs["activations"][i]
        clip = node.attrs["clip"] or np.inf
        attrs = dict(zip(("alpha", "beta"), parameters, strict=False))
        value = np.clip(value, -clip, clip, dtype=np.float32)
        if name in ("Affine", "ScaledTanh"):
            a, b = parameters
            return a * value + b if name == "Affine" else a * np.tanh(b * value)
        return evaluate(Node(name, (Value("", None),), (Value("", None),), attrs), [value])[0]

    h, products = state[0], r @ state[0]
    if node.attrs["cell"] == "RNN":
        return [activation(0, x[0] + products[0])]
    if node.attrs["cell"] == "GRU":
        update, reset = activation(0, x[0] + products[0]), activation(0, x[1] + products[1])
        inner = reset * (products[2] + extra) if node.attrs["after"] else r[2] @ (reset * h)
        return [(1 - update) * activation(1, x[2] + inner) + update * h]
    p = np.zeros((3, len(h)), np.float32) if extra is None else extra.reshape(3, -1)
    i, o, f, c = x + products
    i = activation(0, i + p[0] * state[1])
    f = 1 - i if node.attrs["coupled"] else activation(0, f + p[2] * state[1])
    c = f * state[1] + i * activation(1, c)
    return [activation(0, o + p[1] * c) * activation(2, c), c]


def _softmax(node: Node, inputs: list[np.ndarray | None]) -> list[np.ndarray]:
    (x,) = inputs
    axis = node.attrs.get("axis", -1)
    e = x - x.max(axis, keepdims=True)
    np.exp(e, out=e)
    e /= e.sum(axis, keepdims=True)
    return [e]


def _fake_quantize(node: Node, inputs: list[np.ndarray | None]) -> list[np.ndarray]:
    """As ONNX defines QuantizeLinear, or DynamicQuantizeLinear, and back."""
    x, *grid = inputs
    if grid:
        scale, zero = grid
        with np.errstate(over="ignore"):  # infinite numbers have an end as well
            codes = np.clip(np.rint(x / scale) + zero, node.attrs["low"], node.attrs["high"])
        return [((codes - zero) * scale).astype(np.float32)]
    least, greatest = min(x.min(), np.float32(0)), max(x.max(), np.float32(0))
    scale = (greatest - least) / np.float32(255) or np.float32(1)
    zero = np.clip(np.rint(-least / scale), 0, 255)
    return [(np.clip(np.rint(x / scale) + zero, 0, 255) - zero) * scale]


def _rms_norm(node: Node, inputs: list[np.ndarray | None]) -> list[np.ndarray]:
    x, scale = inputs[:2]
    axes = tuple(range(node.attrs.get("axis", -1) % x.ndim, x.ndim))
    mean = np.mean(np.square(x, dtype=np.float32), axes, keepdims=True)
    y = (x / np.sqrt(mean + node.attrs.get("epsilon", 1e-5)) * scale).astype(x.dtype)
    return [expression(node.attrs["tail"], [y], inputs) if "tail" in node.attrs else y]


OWN: dict[str, Callable[[Node, list[Any]], list[np.ndarray]]] = {
    "Gelu": _gelu,
    "Erf": lambda node, inputs: [erf(inputs[0])],
    "Softmax": _softmax,
    "Linear": _linear,
    "Conv": _convolution,
    "ConvTranspose": _convolution,
    "Gather": _gather,
    "GatherElements": _gather_elements,
    "Cast": lambda node, inputs: [inputs[0].astype(DTYPES[node.attrs["to"]])],
    "Attention": _attention,
    "Rotary": _rotary,
    "RMSNormalization": _rms_norm,
    "FakeQuantize": _fake_quantize,
    "Elementwise": lambda node, inputs: [expression(node.attrs["steps"], [], inputs)],
    "Recurrent": _recurrent,
    "Resample": _resample,
    "Write": lambda node, inputs: [_written(inputs[0], inputs[1], node.attrs["at"])],
}
