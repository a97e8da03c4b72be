"""ONNX Runtime's own operators, each as a model of one node: what is written out computes what onnxruntime does."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from graphs import T, ops, random, unchanged

from intaglio.compiler.ir.errors import BadModel, UnsupportedOperator
from intaglio.compiler.passes import pipeline
from intaglio.compiler.passes.pipeline import UNDERSTAND, Trace
from intaglio.compiler.reader import load
from intaglio.compiler.reader.contrib import CONTRIB, integers, qlinear, quantize
from intaglio.compiler.semantics import evaluate

ANGLES = np.arange(16)[:, None] / 10.0 ** (np.arange(8) / 4)
# batch 2, 5 tokens, 4 heads of 8; where they are grouped 4 heads of 16, keys and values 2
VALUES = {
    "x": random(2, 5, 32),
    "x4": random(2, 4, 5, 8),
    "k": random(2, 5, 32, seed=1),
    "v": random(2, 5, 32, seed=2),
    "grouped": random(2, 5, 64, seed=3),
    "packed": random(2, 5, 128, seed=3),
    "one": random(1, 1, 32, seed=6),
    "past": random(2, 4, 3, 8, seed=7),
    "heads": random(2, 4, 7, 8, seed=8),
    "heads1": random(1, 4, 7, 8, seed=8),
    "both": random(2, 2, 4, 3, 8, seed=9),
    "w": 0.3 * random(32, 96, seed=10),
    "w4": 0.3 * random(32, 64, seed=10),
    "b": random(96, seed=11),
    "b4": random(64, seed=11),
    "row": 1 + 0.3 * random(32, seed=12),
    "row2": random(32, seed=13),
    "row3": random(32, seed=14),
    "bias": random(1, 4, 5, 5, seed=15),
    "bias8": random(1, 1, 5, 8, seed=15),
    "mask": np.array([[1, 1, 1, 1, 1], [0, 1, 1, 0, 0]], np.int32),
    "mask8": np.array([[1, 1, 1, 1, 1, 1, 0, 1], [0, 1, 1, 0, 0, 1, 1, 1]], np.int32),
    "mask7": np.array([[1, 1, 1, 0, 1, 1, 1]], np.int32),
    "lengths": np.array([5, 3], np.int32),
    "square": np.tri(5, dtype=np.int32)[None].repeat(2, 0),
    "seqlens": np.array([4, 4], np.int32),
    "total": np.array([5], np.int32),
    "cos": np.cos(ANGLES[:, :4]).astype(np.float32),
    "sin": np.sin(ANGLES[:, :4]).astype(np.float32),
    "cos2": np.cos(ANGLES[:, :2]).astype(np.float32),
    "sin2": np.sin(ANGLES[:, :2]).astype(np.float32),
    "cos8": np.cos(ANGLES).astype(np.float32),
    "sin8": np.sin(ANGLES).astype(np.float32),
    "start": np.array([3]),
    "positions": np.array([[0, 1, 2, 3, 4], [7, 3, 9, 0, 1]]),
    "ids": np.array([[0, 1, 2, 3, 4], [7, 3, 9, 0, 1]], np.int32),
    "kinds": np.array([[0, 0, 1, 1, 0], [1, 1, 1, 0, 0]], np.int32),
    "words": random(16, 32, seed=16),
    "places": random(12, 32, seed=17),
    "segments": random(2, 32, seed=18),
    "w2": random(2, 7, 5, seed=19),
    "square2": random(5, 5, seed=20),
    "w2d": random(5, 3, seed=21),
    "c": random(3, seed=22),
    "image": random(1, 2, 5, 5, seed=23),
    "kernel": random(2, 2, 3, 3, seed=24),
    "two": random(2, seed=25),
    "sum": random(1, 2, 5, 5, seed=26),
}
GROUPED = "com.microsoft.GroupQueryAttention<num_heads=4, kv_num_heads=2"
MULTI = "com.microsoft.MultiHeadAttention<num_heads=4"
MASKED = "com.microsoft.DecoderMaskedMultiHeadAttention<num_heads=4"
ONE = "com.microsoft.Attention<num_heads=4"
CASES = [
    "y = com.microsoft.SkipLayerNormalization(x, k, row, row2, row3)",
    "y, , , z = com.microsoft.SkipLayerNormalization<epsilon=0.1>(x, k, row)",
    "y = com.microsoft.SkipSimplifiedLayerNormalization(x, k, row)",
    "y, , , z = com.microsoft.SkipSimplifiedLayerNormalization<epsilon=0.1>(x, k, row, row3)",
    "y = SimplifiedLayerNormalization<epsilon=0.1, axis=-1, stash_type=1>(x, row)",
    "y, n = com.microsoft.EmbedLayerNormalization<epsilon=0.1>(ids, kinds, words, places, segments, row, row2)",
    "y, n, z = com.microsoft.EmbedLayerNormalization(ids, , words, places, , row, row2, mask)",
    "y, n = com.microsoft.EmbedLayerNormalization(ids, , words, places, , row, row2, , ids)",
    "y = com.microsoft.BiasGelu(x, row3)",
    "y = com.microsoft.FastGelu(x)",
    "y = com.microsoft.FastGelu(x, row3)",
    "y = com.microsoft.Gelu(x)",
    "y = com.microsoft.QuickGelu(x)",
    "y = com.microsoft.QuickGelu<alpha=0.5>(x)",
    "y = com.microsoft.FusedMatMul<alpha=0.5>(x, w)",
    "y = com.microsoft.FusedMatMul<transB=1>(x, k)",
    "y = com.microsoft.FusedMatMul<transA=1, alpha=2.0>(x, k)",
    "y = com.microsoft.FusedMatMul<transA=1, transB=1>(x, w2)",
    "y = com.microsoft.TransposeMatMul<transB=1>(x, k)",
    *(
        f'y = com.microsoft.FusedGemm<activation="{a}", alpha=0.5, beta=2.0, transA=1>(square2, w2d, c)'
        for a in ("Relu", "Tanh")
    ),
    'y = com.microsoft.FusedGemm<activation="LeakyRelu", activation_alpha=0.3>(square2, w2d)',
    *(
        f'y = com.microsoft.FusedConv<activation="{a}", pads=[1,1,1,1]{more}>(image, kernel)'
        for a, more in (("Relu", ""), ("Clip", ", activation_params=[-0.5,0.7]"), ("Sigmoid", ""))
    ),
    'y = com.microsoft.FusedConv<activation="Relu", pads=[1,1,1,1]>(image, kernel, two, sum)',
    "y = com.microsoft.RotaryEmbedding(x4, positions, cos, sin)",
    "y = com.microsoft.RotaryEmbedding<interleaved=1>(x4, start, cos, sin)",
    "y = com.microsoft.RotaryEmbedding<interleaved=1>(x, start, cos, sin)",
    "y = com.microsoft.RotaryEmbedding<num_heads=4, rotary_embedding_dim=4>(x, positions, cos2, sin2)",
    "y = com.microsoft.RotaryEmbedding<num_heads=4, rotary_embedding_dim=4, interleaved=1>(x4, positions, cos2, sin2)",
    f"y = {ONE}>(x, w, b)",
    f"y = {ONE}, unidirectional=1, scale=0.5>(x, w, b, mask)",
    f"y = {ONE}, mask_filter_value=-3.0>(x, w, b, square, , bias)",
    f"y = {ONE}>(x, w, , lengths)",
    f"y = {ONE}, qkv_hidden_sizes=[16,16,32]>(x, w4, b4)",
    f"y, present = {ONE}>(x, w, b)",
    f"y, present = {ONE}, unidirectional=1>(x, w, b, mask8, both)",
    f"y = {MULTI}>(x, k, v)",
    f"y = {MULTI}, unidirectional=1, scale=0.5>(x, k, v, b)",
    f"y = {MULTI}>(x, k, v, , mask)",
    f"y = {MULTI}, mask_filter_value=-3.0>(x, k, v, b, square, bias)",
    f"y = {MULTI}>(x, k, v, , lengths)",
    f"y = {MULTI}>(x, heads, heads)",
    f"y, pk, pv = {MULTI}, unidirectional=1>(x, k, v, , , bias8, past, past)",
    f"y = {MASKED}>(one, heads1, heads1, mask7)",
    f"y = {MASKED}, mask_filter_value=-3.0>(one, heads1, heads1, mask7)",
    f"y = {GROUPED}>(grouped, k, v, , , seqlens, total)",
    f"y, pk, pv = {GROUPED}, scale=0.5, softcap=1.5>(grouped, k, v, , , seqlens, total)",
    f"y = {GROUPED}, local_window_size=2>(grouped, k, v, , , seqlens, total)",
    f"y = {GROUPED}, local_window_size=3, softcap=2.0, do_rotary=1>(packed, , , , , seqlens, total, cos8, sin8)",
    f"y, pk, pv = {GROUPED}, do_rotary=1, rotary_interleaved=1>(packed, , , , , seqlens, total, cos8, sin8)",
    f"y, pk, pv = {GROUPED}, do_rotary=1>(packed, grouped, grouped, , , seqlens, total, cos8, sin8)",
    f"y = {GROUPED}>(grouped, k, v, , , seqlens, total, , , , bias)",
]  # fmt: skip


def parse(inputs: str, outputs: str, body: str, opset: int = 18) -> onnx.ModelProto:
    text = f"main ({inputs}) => ({outputs}) {{ {body} }}"
    return onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : {opset}, "com.microsoft" : 1]> {text}')


def model(case: str) -> tuple[onnx.ModelProto, dict[str, np.ndarray]]:
    """A case as a model, whose inputs are what it names."""
    given, call = case.split(" = ", 1)
    arguments = call[call.rindex("(") + 1 : -1].split(",")
    used = {name: VALUES[name] for name in dict.fromkeys(a.strip() for a in arguments) if name}
    kinds = {np.float32: "float", np.int32: "int32", np.int64: "int64"}
    inputs = [f"{kinds[a.dtype.type]}[{','.join(map(str, a.shape))}] {name}" for name, a in used.items()]
    names = [name.strip() for name in given.split(",") if name.strip()]
    outputs = [f"{'int32' if name == 'n' else 'float'} {name}" for name in names]
    return parse(", ".join(inputs), ", ".join(outputs), case), used


def of_onnxruntime(made: onnx.ModelProto, inputs: dict[str, np.ndarray]) -> Sequence[Any]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(made.SerializeToString(), options, ["CPUExecutionProvider"])
    return session.run(None, inputs)


@pytest.mark.parametrize("case", CASES)
def test_operators(case: str) -> None:
    made, inputs = model(case)
    expected = of_onnxruntime(made, inputs)
    g = load.load(made)
    assert not ops(g).keys() & CONTRIB.keys() - {"Gelu", "LayerNormalization"}
    for (name, actual), y in zip(evaluate.run(g, inputs).items(), expected, strict=True):
        assert actual.shape == y.shape and actual.dtype == y.dtype, name
        np.testing.assert_allclose(actual, y, rtol=1e-4, atol=1e-5, err_msg=name)


@pytest.mark.parametrize(
    "body", ["y = LayerNormalization(x, row)", "y = LayerNormalization<axis=2,epsilon=0.1>(x, row, b)"]
)
def test_layer_normalization_before_it_was_of_onnx(body: str) -> None:
    """onnxruntime has it in ONNX's domain whatever the opset."""
    inputs = {"x": VALUES["x"], "row": VALUES["row"], "b": VALUES["row2"]}
    made = parse("float[2,5,32] x, float[32] row, float[32] b", "float y", body, opset=14)
    actual = evaluate.run(load.load(made), inputs)["y"]
    np.testing.assert_allclose(actual, of_onnxruntime(made, inputs)[0], rtol=1e-4, atol=1e-5)


def test_every_operator_has_a_case() -> None:
    # those with constants as weights, and those on integers, have tests of their own
    others = {"LayerNormalization", *quantize.CONTRIB, *integers.CONTRIB, *qlinear.CONTRIB}
    assert {op for op in CONTRIB.keys() - others if not any(f"{op}<" in c or f"{op}(" in c for c in CASES)} == set()


def test_packed_heads() -> None:
    """onnxruntime has them on GPUs only: against the same tensors apart."""
    q, k, v = (random(2, 5, 4, 8, seed=i) for i in range(3))
    apart = [a.reshape(2, 5, 32) for a in (q, k, v)]
    names = ("x", "k", "v")
    made, _ = model(f"y = {MULTI}>(x, k, v)")
    (expected,) = of_onnxruntime(made, dict(zip(names, apart, strict=True)))
    three = parse("float[2,5,4,3,8] x", "float y", f"y = {MULTI}>(x)")
    two = parse("float[2,5,32] x, float[2,5,4,2,8] k", "float y", f"y = {MULTI}>(x, k)")
    for packed, inputs in (
        (three, {"x": np.stack([q, k, v], axis=3)}),
        (two, {"x": apart[0], "k": np.stack([k, v], axis=3)}),
    ):
        actual = evaluate.run(load.load(packed), inputs)["y"]
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)


def test_one_query_after_an_empty_past() -> None:
    """onnxruntime takes a buffer with room for the past, and where it ends; the compiler, which reads decoders without
    past, an empty one."""
    inputs = {"x": random(1, 1, 32), "b": random(96, seed=1)}
    body = f"y, pk, pv = {MASKED}, past_present_share_buffer=1>(x, x, x, , , past, past, start, , , b)"
    cache = "float[1,1,32] x, float[96] b, float[1,4,{},8] past, int32[1] start"
    buffer = {"past": np.zeros((1, 4, 6, 8), np.float32), "start": np.array([0], np.int32)}
    expected = of_onnxruntime(parse(cache.format(6), "float y", body), inputs | buffer)[0]
    g = load.load(parse(cache.format(0), "float y, float pk", body))
    actual = evaluate.run(g, inputs | buffer | {"past": buffer["past"][:, :, :0]})
    np.testing.assert_allclose(actual["y"], expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(UnsupportedOperator, match="past_present_share_buffer"):
        load.load(parse(cache.format(6), "float y", body))


# what they are written out as is attention to the passes

WEIGHTS = {
    "w": VALUES["w"],
    "b": VALUES["b"],
    "cos": np.cos(np.arange(64)[:, None] / 10.0 ** np.arange(4)).astype(np.float32),
    "sin": np.sin(np.arange(64)[:, None] / 10.0 ** np.arange(4)).astype(np.float32),
    "zero": np.array(0),
    "step": np.array(1),
    "axis": np.array([0]),
}
COUNTED = "size = Shape<end=2>(x) ones = ConstantOfShape<value=int32[1]{1}>(size) "
PLACES = "t = Shape<start=1,end=2>(x) t0 = Squeeze(t) r0 = Range(zero, t0, step) at = Unsqueeze(r0, axis) "
TURN = "r = com.microsoft.RotaryEmbedding(x, at, cos, sin) "
ALIKE = {"heads": 4, "kv_heads": 4, "scale": 1 / math.sqrt(8), "past": 0}
GROUPS = ALIKE | {"kv_heads": 2}


@pytest.mark.parametrize(
    "body, attrs, rotary",
    [
        (f"y = {ONE}>(x, w, b)", ALIKE | {"past": None}, 0),
        (f"y = {ONE}, unidirectional=1>(x, w, b)", ALIKE, 0),
        (f"y = {MULTI}, unidirectional=1, scale=0.5>(x, x, x, b)", ALIKE | {"scale": 0.5}, 0),
        (f"{COUNTED} y = {MULTI}, unidirectional=1>(x, x, x, b, ones)", ALIKE, 0),
        (f"{COUNTED} y = {MASKED}>(x, x, x, ones)", ALIKE, 0),
        (f"{PLACES} {TURN} y = {MULTI}, unidirectional=1>(r, r, x)", ALIKE, 1),
        (f"y = {GROUPED}, do_rotary=1>(packed, , , , , i, i, cos, sin)", GROUPS, 2),
        (f"y = {GROUPED}, do_rotary=1, rotary_interleaved=1>(packed, , , , , i, i, cos, sin)", GROUPS, 2),
        (f"y = {GROUPED}, local_window_size=3>(packed, , , , , i, i)", GROUPS | {"window": 3}, 0),
        (f"y = {GROUPED}, softcap=2.0, scale=0.5>(packed, , , , , i, i)", GROUPS | {"scale": 0.5, "cap": 2.0}, 0),
    ],
)
def test_attention_is_whole_again(body: str, attrs: dict[str, float | None], rotary: int) -> None:
    made = parse("float[1,T,32] x, float[1,T,64] packed, int32[1] i", "float y", body)
    made.graph.initializer.extend(onnx.numpy_helper.from_array(a, name) for name, a in WEIGHTS.items())
    g = load.load(made, bind={"T": T})
    assert unchanged(g, lambda g: len(pipeline.run(g, UNDERSTAND, Trace()).nodes), [5, 1, 24])
    assert ops(g)["Rotary"] == rotary and not ops(g).keys() & {"Softmax", "Tanh"}
    (node,) = [node for node in g.nodes if node.op == "Attention"]
    assert node.settings == {name: pytest.approx(value) for name, value in attrs.items()}


@pytest.mark.parametrize(
    "case, why",
    [
        (f"y = {ONE}, do_rotary=1>(x, w)", "do_rotary"),
        (f"y = {ONE}>(x, w, , bias)", "shape of the mask bias"),
        (f"y, pk, pv, qk = {MULTI}>(x, k, v)", "its output qk"),
        (f"y = {GROUPED}, smooth_softmax=1>(packed, , , , , seqlens, total)", "smooth_softmax"),
        (f"y = {GROUPED}>(packed, , , , , seqlens, total, , , , , row)", "head_sink"),
        (f"y = {GROUPED}>(packed, , , past, past, seqlens, total)", "KV cache; compile the folder"),
        ("y = com.microsoft.FusedMatMul<transBatchA=1>(x, w)", "transBatchA"),
        ("y = com.microsoft.RotaryEmbedding<scale=2.0>(x4, positions, cos, sin)", "scale"),
        ("y = com.microsoft.MoE(x, x, x)", "MoE.*not an ONNX operator"),
    ],
)
def test_uses_that_are_refused(case: str, why: str) -> None:
    with pytest.raises(UnsupportedOperator, match=why):
        load.load(model(case)[0])


@pytest.mark.parametrize(
    "case",
    [
        f"y = {ONE}>(x)",
        "y = com.microsoft.Attention<num_heads=0>(x, w)",
        "y = com.microsoft.Attention(x, w)",
        f"y = {MULTI}>(row, row, row)",
        f"y = {MULTI}>(ids, ids, ids)",
        f"y = {GROUPED}, do_rotary=1>(packed, , , , , seqlens, total)",
        "y = com.microsoft.Attention<num_heads=5>(x, w)",
        "y = com.microsoft.SkipLayerNormalization(x)",
        "y = com.microsoft.QuickGelu()",
        "y = com.microsoft.EmbedLayerNormalization(ids, , words, places)",
    ],
)
def test_broken_nodes(case: str) -> None:
    with pytest.raises(BadModel):
        load.load(model(case)[0])
