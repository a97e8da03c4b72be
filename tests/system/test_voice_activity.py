"""A detector of voice activity as Silero VAD is exported: a branch for each sample rate, unnamed sizes, states."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import soundfile

import intaglio
from intaglio.compiler.ir.errors import BadModel

JFK = Path(__file__).parents[2] / "examples" / "jfk.wav"
WINDOWS, CONTEXT, NEW = 200, 64, 512  # windows to run; samples of each, old and new
BRANCH = """
    ends = Constant<value = int64[4] {{0, 0, 0, {pad}}}>()
    ones = Constant<value = int64[1] {{1}}>()
    padded = Pad<mode = "reflect">(input, ends)
    signal = Unsqueeze(padded, ones)
    spectrum = Conv<strides = [{hop}]>(signal, {name}basis)
    first = Constant<value = int64[1] {{0}}>()
    middle = Constant<value = int64[1] {{4}}>()
    end = Constant<value = int64[1] {{8}}>()
    re = Slice(spectrum, first, middle, ones)
    im = Slice(spectrum, middle, end, ones)
    re2 = Mul(re, re)
    im2 = Mul(im, im)
    power = Add(re2, im2)
    magnitude = Sqrt(power)
    c1 = Conv<strides = [1], pads = [1, 1]>(magnitude, {name}w1)
    r1 = Relu(c1)
    c2 = Conv<strides = [2], pads = [1, 1]>(r1, {name}w2)
    r2 = Relu(c2)
    c3 = Conv<strides = [2], pads = [1, 1]>(r2, {name}w3)
    r3 = Relu(c3)
    last = Constant<value = int64[1] {{-1}}>()
    shape = Shape(r3)
    frames = Gather(shape, last)
    alone = Equal(frames, ones)
    features = If(alone) <
        then_branch = {name}one () => (float[a, b] {name}squeezed) {{ {name}squeezed = Squeeze(r3, last) }},
        else_branch = {name}many () => (float[c, d, e] {name}all) {{ {name}all = Identity(r3) }}>
    zero = Constant<value = int64 {{0}}>()
    one = Constant<value = int64 {{1}}>()
    h0 = Gather(state, zero)
    c0 = Gather(state, one)
    step = Unsqueeze(features, first)
    h1 = Unsqueeze(h0, first)
    c1s = Unsqueeze(c0, first)
    y, h, c = LSTM<hidden_size = 8>(step, {name}w, {name}r, , , h1, c1s)
    {name}state = Concat<axis = 0>(h, c)
    row = Squeeze(h, first)
    score = MatMul(row, {name}head)
    {name}out = Sigmoid(score)
"""
TEXT = f"""<ir_version: 8, opset_import: ["" : 16]>
main (float[?, ?] input, float[2, ?, 8] state, int64 sr) => (float[m, 1] output, float[n, o, p] stateN) {{
    rate = Constant<value = int64 {{16000}}>()
    wide = Equal(sr, rate)
    output, stateN = If(wide) <
        then_branch = w () => (float[f, 1] wide_out, float[g, h, i] wide_state)
            {{ {BRANCH.format(pad=64, hop=128, name="wide_")} }},
        else_branch = n () => (float[j, 1] narrow_out, float[k, l, q] narrow_state)
            {{ {BRANCH.format(pad=32, hop=64, name="narrow_")} }}>
}}"""


def detector() -> onnx.ModelProto:
    model = onnx.parser.parse_model(TEXT)
    random = np.random.default_rng(0)
    for name, width in (("wide", 256), ("narrow", 128)):
        shapes = {"basis": (8, 1, width), "w1": (8, 4, 3), "w2": (8, 8, 3), "w3": (8, 8, 3)}
        shapes |= {"w": (1, 32, 8), "r": (1, 32, 8), "head": (8, 1)}
        for part, shape in shapes.items():
            array = random.standard_normal(shape).astype(np.float32) * 0.5
            model.graph.initializer.append(onnx.numpy_helper.from_array(array, f"{name}_{part}"))
    return model


def test_the_sample_rate_is_all_that_a_user_gives(tmp_path: Path, speech: np.ndarray) -> None:
    """The batch and the length of a window follow from the graph; windows in a row equal onnxruntime's."""
    model = detector()
    with pytest.raises(BadModel) as refused:
        intaglio.compile(model, tmp_path / "refused")
    assert str(refused.value).count("--bind") == 1 and str(refused.value).endswith("--bind sr=16000")
    bundle = intaglio.compile(model, tmp_path / "bundle", bind={"sr": 16000})
    assert any("input.1" in note for note in bundle.report["notes"])
    reference = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    state = expected_state = np.zeros((2, 1, 8), np.float32)
    for i in range(WINDOWS):
        window = speech[None, i * NEW : i * NEW + CONTEXT + NEW]
        outputs = bundle.run({"input": window, "state": state})
        expected, expected_state = reference.run(
            ["output", "stateN"], {"input": window, "state": expected_state, "sr": np.array(16000)}
        )
        state = outputs["stateN"]
        np.testing.assert_allclose(outputs["output"], expected, atol=1e-4)
        np.testing.assert_allclose(state, expected_state, atol=1e-4)


@pytest.fixture
def speech() -> np.ndarray:
    return soundfile.read(JFK, dtype="float32")[0]
