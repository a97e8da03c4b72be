"""An ONNX file as it would be if nothing in it were rounded on the way: f16 computed in f32, from the same weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import GraphProto, NodeProto, TensorProto

F16, F32 = TensorProto.FLOAT16, TensorProto.FLOAT


def session(path: Path, exact: bool = False) -> onnxruntime.InferenceSession:
    """The file on onnxruntime's CPU. exact: in f32, and where weights are packed, without rounding what they meet."""
    options = onnxruntime.SessionOptions()
    if not exact:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", "1")
    model = onnx.load(path)
    _in_f32(model.graph)
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _in_f32(graph: GraphProto) -> None:
    for tensor in graph.initializer:
        _widen(tensor)
    for value in (*graph.input, *graph.output):
        if value.type.tensor_type.elem_type == F16:
            value.type.tensor_type.elem_type = F32
    del graph.value_info[:]
    for node in graph.node:
        _node_in_f32(node)


def _node_in_f32(node: NodeProto) -> None:
    for a in node.attribute:
        if a.HasField("t"):
            _widen(a.t)
        if a.HasField("g"):
            _in_f32(a.g)
        if a.name in ("to", "output_dtype") and a.i == F16:
            a.i = F32
    kept = [a for a in node.attribute if a.name != "accuracy_level"]
    del node.attribute[:]
    node.attribute.extend(kept)


def _widen(tensor: TensorProto) -> None:
    if tensor.data_type == F16:
        array = onnx.numpy_helper.to_array(tensor).astype(np.float32)
        tensor.CopyFrom(onnx.numpy_helper.from_array(array, tensor.name))
