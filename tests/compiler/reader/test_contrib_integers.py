"""ONNX Runtime's operators on integers of 8 bits, each as a model of one node, against onnxruntime."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from graphs import random
from parity import assert_equal, compiled, every_variant, graph_of

from intaglio.compiler.reader import load
from intaglio.compiler.reader.contrib import integers, qlinear
from intaglio.compiler.semantics import evaluate

ELEMENTS = {"float32": "float", "uint8": "uint8", "int8": "int8", "int16": "int16", "int32": "int32", "bool": "bool"}


def codes(*shape: int, low: int = 0, high: int = 255, dtype: str = "uint8", seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(low, high, shape).astype(dtype)


def scale(*shape: int, of: float = 0.02) -> np.ndarray:
    return (of * (1 + np.abs(random(*shape)))).astype(np.float32)


def signed(*shape: int, seed: int = 0) -> np.ndarray:
    return codes(*shape, low=-60, high=60, dtype="int8", seed=seed)


VALUES = {
    "x": random(2, 3, 8),
    "rows": codes(3, 8),
    "rows2": codes(3, 8, seed=1),
    "rows_s": codes(3, 8, low=-128, high=127, dtype="int8"),
    "image": codes(2, 3, 4, 4),
    "weight": codes(8, 5, seed=2),
    "weight_s": signed(8, 5),
    "weight_t": signed(5, 8),
    "wide": codes(3, 4, low=-300, high=300, dtype="int16"),
    "wide2": codes(4, 5, low=-300, high=300, dtype="int16"),
    "s": scale(),
    "s1": scale(1),
    "s2": scale(of=0.0271),
    "s5": scale(5),
    "half": np.float32(1 / 256),
    "z": np.uint8(120),
    "z1": np.array([7], np.uint8),
    "z2": np.uint8(90),
    "z5": codes(5),
    "low": np.int8(-128),
    "zero5": np.zeros(5, np.int8),
    "b5": random(5),
    "i5": codes(5, low=-900, high=900, dtype="int32"),
    "which": codes(3, 8, high=2, dtype="bool"),
    "tokens": codes(2, 5, 32),
    "qkv": signed(32, 96),
    "qkv_u": codes(32, 96),
    "b96": random(96),
    "s96": scale(96, of=0.01),
    "z96": codes(96),
    "mask": np.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]], np.int32),
    "past": random(2, 2, 4, 3, 8),
    "steps": random(6, 1, 5),
    "w": signed(1, 5, 32),
    "r": signed(1, 8, 32, seed=1),
    "w_u": codes(1, 5, 32),
    "r_u": codes(1, 8, 32, seed=1),
    "steps32": random(6, 1, 32),
    "w_2": signed(2, 32, 32),
    "r_2": signed(2, 8, 32, seed=1),
    "b_1": random(1, 64),
    "b_2": random(2, 64),
    "h_1": random(1, 1, 8),
    "h_2": random(2, 1, 8),
    "s_1": scale(1, of=0.01),
    "s_2": scale(2, of=0.01),
    "s_32": scale(1, 32, of=0.01),
    "zero_1": np.zeros(1, np.int8),
    "zero_2": np.zeros(2, np.int8),
    "z_1": np.array([120], np.uint8),
    "axes": np.array([1]),
}
LSTM = "DynamicQuantizeLSTM<hidden_size=8"
CASES = [
    "float y = DynamicQuantizeMatMul(x, weight_s, s1)",
    "float y = DynamicQuantizeMatMul(x, weight, s5, z5, b5)",
    "float y = MatMulIntegerToFloat(rows, weight_s, s1, s1)",
    "float y = MatMulIntegerToFloat(rows, weight, s1, s5, z1, z5, b5)",
    "int32 y = MatMulInteger16(wide, wide2)",
    "float y = QAttention<num_heads=4>(tokens, qkv, b96, s, s2)",
    "float y = QAttention<num_heads=4>(tokens, qkv, b96, s, s2, mask)",
    "float y, p = QAttention<num_heads=4, unidirectional=1>(tokens, qkv_u, b96, s, s96, , z, z96, past)",
    f"float y, h, c = {LSTM}>(steps, w, r, b_1, , h_1, h_1, , s_1, zero_1, s_1, zero_1)",
    f"float y, h, c = {LSTM}, direction='reverse'>(steps, w_u, r_u, , , , , , s_32, z_1, s_32, z_1)",
    f"float y, h, c = {LSTM}, direction='bidirectional'>(steps32, w_2, r_2, b_2, , h_2, , , s_2, zero_2, s_2, zero_2)",
    "uint8 y = QLinearAdd(rows, s, z, rows2, s2, z2, s2, z)",
    "uint8 y = QLinearMul(rows, s, z, rows2, s2, z2, s2, z)",
    "int8 y = QLinearSigmoid(rows_s, s, low, half, low)",
    "uint8 y = QLinearLeakyRelu<alpha=0.1>(rows, s, z, s2, z2)",
    "uint8 y = QLinearGlobalAveragePool(image, s, z, s2, z2)",
    "uint8 y = QLinearGlobalAveragePool<channels_last=1>(image, s, z, s2, z2)",
    "uint8 y = QLinearAveragePool<kernel_shape=[2,2], strides=[2,2]>(image, s, z, s2, z2)",
    "uint8 y = QLinearConcat<axis=1>(s2, z2, rows, s, z, rows2, s2, z2)",
    "uint8 y = QLinearSoftmax<axis=1, opset=13>(rows, s, z, half, z2)",
    "uint8 y = QLinearSoftmax<axis=1, opset=12>(image, s, z, half, z2)",
    "uint8 y = QLinearWhere(which, rows, s, z, rows2, s2, z2, s, z2)",
    "uint8 y = QGemm<transB=1>(rows, s, z, weight_t, s5, zero5, i5, s2, z2)",
    "float y = QGemm<alpha=0.5>(rows, s, z, weight, s2, z2, i5)",
    "uint8 y = QuantizeLinear<axis=1>(b5, s, z)",
    "float y = DequantizeLinear<axis=1>(weight, s5, z5)",
]
UNTESTED = {"MulInteger", "QLinearReduceMean", "ReduceSumInteger"}  # onnxruntime has no CPU kernel for them


def model(case: str) -> tuple[onnx.ModelProto, dict[str, np.ndarray]]:
    """A case as a model, whose large inputs are fed, and all others are weights."""
    dtype, _, call = case.replace("'", '"').partition(" ")
    outputs, _, body = call.partition(" = ")
    names = list(dict.fromkeys(n for n in body[body.rindex("(") + 1 : -1].replace(" ", "").split(",") if n))
    fed = {
        n: VALUES[n]
        for n in names
        if n in ("x", "rows", "rows_s", "image", "tokens", "steps", "steps32", "b5", "past", "wide")
    }
    inputs = ", ".join(f"{ELEMENTS[str(a.dtype)]}[{','.join(map(str, a.shape))}] {n}" for n, a in fed.items())
    results = ", ".join(f"{dtype} {name.strip()}" for name in outputs.split(","))
    made = onnx.parser.parse_model(
        f'<ir_version: 8, opset_import: ["" : 17, "com.microsoft" : 1]> main ({inputs}) => ({results})'
        f"{{ {outputs} = com.microsoft.{body} }}"
    )
    weights = [onnx.numpy_helper.from_array(VALUES[n], n) for n in names if n not in fed]
    made.graph.initializer.extend(weights)
    return made, fed


def expected(made: onnx.ModelProto, fed: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(made.SerializeToString(), options, ["CPUExecutionProvider"])
    names = [o.name for o in session.get_outputs()]
    results: Sequence[Any] = session.run(names, fed)
    return dict(zip(names, results, strict=True))


@pytest.mark.parametrize("case", CASES)
def test_as_onnxruntime(case: str) -> None:
    """Integers may differ by one where a number lies between two."""
    made, fed = model(case)
    actual = evaluate.run(load.load(made), fed)
    for name, y in expected(made, fed).items():
        assert (actual[name].dtype, actual[name].shape) == (y.dtype, y.shape)
        error = np.abs(actual[name].astype(float) - y.astype(float))
        if y.dtype == np.float32:
            assert error.max() < 1e-4 * max(1, np.abs(y).max())
        else:
            assert error.max() <= 1 and np.count_nonzero(error) <= 2


def test_every_operator_has_a_case() -> None:
    tested = {case.partition(" = ")[2].partition("(")[0].partition("<")[0] for case in CASES}
    assert (integers.CONTRIB.keys() | qlinear.CONTRIB.keys()) - UNTESTED == tested


@pytest.mark.parametrize("case", [case for case in CASES if "LSTM" in case])
def test_rounded_states_on_the_adapter(case: str, tmp_path: Path) -> None:
    made, fed = model(case)
    for session in every_variant(compiled(graph_of(made), tmp_path / "bundle")):
        assert_equal(session.run("main", fed), expected(made, fed), atol=1e-4)
