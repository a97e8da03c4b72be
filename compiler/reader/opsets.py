"""Older opsets: nodes become what OPSET would write. An attribute of one opset is an input in the next."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from intaglio.compiler.ir.errors import UnsupportedOperator
from intaglio.compiler.ir.graph import Graph
from intaglio.compiler.ir.nodes import Node, operands
from intaglio.compiler.ir.values import DTYPES, known
from intaglio.compiler.rewrite.builder import GraphBuilder
from intaglio.compiler.semantics.infer import infer
from intaglio.compiler.semantics.shapes import axis_of

OLDEST = 7  # the first opset in which operands broadcast as they do today; before, operators are read that it kept


def normalise(node: Node, opset: int, graph: Graph) -> None:
    """Rewrite a node of `opset` in place."""
    if node.op in _NORMALISE:
        _NORMALISE[node.op](node, opset, graph)


def _axes_to_input(node: Node, opset: int, graph: Graph) -> None:
    if "axes" in node.attrs:
        axes = graph.constant(np.array(node.attrs.pop("axes"), np.int64), "axes")
        node.inputs = (node.inputs[0], axes)


def _attrs_to_inputs(*names: str) -> Callable[[Node, int, Graph], None]:
    def move(node: Node, opset: int, graph: Graph) -> None:
        if len(node.inputs) == 1:
            values = [(n, node.attrs.pop(n, None)) for n in names]
            kinds = [np.int64 if isinstance(v, list) else DTYPES[node.inputs[0].dtype] for _, v in values]
            consts = [
                graph.constant(np.array(v, kind), n) if v is not None else None
                for (n, v), kind in zip(values, kinds, strict=True)
            ]
            while consts and consts[-1] is None:
                consts.pop()
            node.inputs = operands((node.inputs[0], *consts))

    return move


def _clip(node: Node, opset: int, graph: Graph) -> None:
    dtype = DTYPES[node.inputs[0].dtype]
    bounds = [node.attrs.pop(n, None) for n in ("min", "max")]
    if opset < 11:
        consts = [graph.constant(np.array(b, dtype)) if b is not None else None for b in bounds]
        node.inputs = operands((node.inputs[0], *consts))


def _softmax(node: Node, opset: int, graph: Graph) -> None:
    """Before opset 13 it went over all axes from the given one on."""
    x = node.inputs[0]
    rank = len(x.shape)
    axis = axis_of(node.attrs.get("axis", 1 if opset < 13 else -1), rank)
    if opset >= 13 or axis == rank - 1:
        node.attrs["axis"] = axis - rank
        return
    builder = GraphBuilder(graph, node)
    (rows,) = builder.node(node.op, (builder.Flatten(x, axis=axis),), axis=-1)
    node.op, node.attrs = "Reshape", {"allowzero": 1}
    node.inputs = (rows, builder.constant(known(x.shape, (rank,)), "shape"))


def _dropout(node: Node, opset: int, graph: Graph) -> None:
    """Inference drops nothing, so the mask is all true."""
    if (training := node.input(2)) is not None and training.scalar is not False:
        raise UnsupportedOperator("the model is in training mode; export it for inference")
    if len(node.outputs) > 1:
        x, mask = node.inputs[0], node.outputs[1]
        one = graph.constant(np.array(1, bool if opset >= 10 else DTYPES[x.dtype]))
        size = graph.constant(known(x.shape, (len(x.shape),)), "shape")
        everywhere = Node("Expand", (one, size), (mask,), {}, node.sources)
        infer(everywhere)
        graph.add(everywhere)
    node.op, node.attrs = "Identity", {}
    node.inputs, node.outputs = node.inputs[:1], node.outputs[:1]


def _reshape(node: Node, opset: int, graph: Graph) -> None:
    if len(node.inputs) == 1:
        node.inputs = (node.inputs[0], graph.constant(np.array(node.attrs.pop("shape"), np.int64), "shape"))


def _resize(node: Node, opset: int, graph: Graph) -> None:
    """Until opset 10 there were only scales, and coordinates counted from the corner."""
    if opset < 11:
        attribute = node.attrs.pop("scales", None)
        scales = node.inputs[1] if attribute is None else graph.constant(np.array(attribute, np.float32), "scales")
        node.op, node.inputs = "Resize", operands((node.inputs[0], None, scales))
        node.attrs |= {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    mode = node.attrs.setdefault("mode", "nearest")
    node.attrs["mode"] = {"bilinear": "linear", "trilinear": "linear"}.get(mode, mode)


def _scatter(node: Node, opset: int, graph: Graph) -> None:
    node.op = "ScatterElements"


def _dft(node: Node, opset: int, graph: Graph) -> None:
    if opset < 20:
        axis = graph.constant(np.array(node.attrs.pop("axis", 1), np.int64), "axis")
        node.inputs = operands((*(*node.inputs, None)[:2], axis))


def _stft(node: Node, opset: int, graph: Graph) -> None:
    """torch wrote signals [batch, length] for years; ONNX's have an axis of parts."""
    signal = node.inputs[0]
    if signal is not None and len(signal.shape) == 2:
        builder = GraphBuilder(graph, node)
        node.inputs = (builder.Unsqueeze(signal, builder.integers(2)), *node.inputs[1:])


def _reduce(node: Node, opset: int, graph: Graph) -> None:
    _axes_to_input(node, opset, graph)
    node.attrs.setdefault("keepdims", 1)


def _cast(node: Node, opset: int, graph: Graph) -> None:
    node.attrs = {"to": node.attrs["to"]}


_NORMALISE: dict[str, Callable[[Node, int, Graph], None]] = {
    **{f"Reduce{kind}": _reduce for kind in "Sum Mean Max Min Prod L1 L2 LogSum LogSumExp SumSquare".split()},
    "Squeeze": _axes_to_input,
    "Unsqueeze": _axes_to_input,
    "Slice": _attrs_to_inputs("starts", "ends", "axes"),
    "Split": _attrs_to_inputs("split"),
    "Pad": _attrs_to_inputs("pads", "value"),
    "Clip": _clip,
    "Softmax": _softmax,
    "LogSoftmax": _softmax,
    "Hardmax": _softmax,
    "Dropout": _dropout,
    "Reshape": _reshape,
    "DFT": _dft,
    "STFT": _stft,
    "Scatter": _scatter,
    "Resize": _resize,
    "Upsample": _resize,
    "Cast": _cast,
}
