"""onnxruntime on a file as it is, or with nothing in it rounded but as it says: f16 computed in f32."""

from __future__ import annotations

from pathlib import Path

import onnx
import onnxruntime

from intaglio.compiler.models.reference import in_f32


def session(path: Path, exact: bool = False) -> onnxruntime.InferenceSession:
    """On the CPU. exact: where weights are packed, what they meet is not rounded; where numbers are quantized and
    dequantized, operators between compute in f32, not in integers."""
    options = onnxruntime.SessionOptions()
    if not exact:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", "1")
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    content = in_f32(onnx.load(path)).SerializeToString()
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
