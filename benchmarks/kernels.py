"""ONNX models of one product each, y = x @ w: `python -m benchmarks.kernels matmul|matvec SIZE OUT.onnx`."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from benchmarks.models import MATVEC


def matrix(inputs: int, outputs: int, dtype: type) -> np.ndarray:
    """Random numbers of which a product has about the size of its input."""
    scale = 1 / np.sqrt(inputs)
    return (np.random.default_rng(0).standard_normal((inputs, outputs), np.float32) * scale).astype(dtype)


def inputs(model: str, square: int) -> np.ndarray:
    """x: f32[square, square] for "matmul", f16[1, inputs] for "matvec"."""
    shape, dtype = ((square, square), np.float32) if model == "matmul" else ((1, MATVEC[0]), np.float16)
    return np.random.default_rng(1).standard_normal(shape, np.float32).astype(dtype)


def product(w: np.ndarray, rows: int) -> onnx.ModelProto:
    kind = helper.np_dtype_to_tensor_dtype(w.dtype)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"], name="product")],
        "product",
        [helper.make_tensor_value_info("x", kind, [rows, w.shape[0]])],
        [helper.make_tensor_value_info("y", kind, [rows, w.shape[1]])],
        [numpy_helper.from_array(w, "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def main(model: str, square: str, out: str) -> None:
    size = int(square)
    w = matrix(size, size, np.float32) if model == "matmul" else matrix(*MATVEC, np.float16)
    onnx.save(product(w, size if model == "matmul" else 1), Path(out))


if __name__ == "__main__":
    main(*sys.argv[1:])
