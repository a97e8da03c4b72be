"""Loading: opsets and exporters against onnxruntime, branches, weights in files, and every way to be broken."""

from __future__ import annotations

import mmap
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from graphs import T, graph, model, ops, random
from onnx import TensorProto, helper

from intaglio.compiler.ir.dims import Expr
from intaglio.compiler.ir.errors import MOST, BadModel, UnsupportedOperator
from intaglio.compiler.ir.graph import Graph
from intaglio.compiler.ir.values import TensorType
from intaglio.compiler.reader import load, tensors
from intaglio.compiler.reader.free_sizes import MAX_UNBOUND
from intaglio.compiler.semantics import evaluate

FIXTURES = Path(__file__).parents[2] / "fixtures"

# opsets: what one opset writes as an attribute is an input in the next

W = {
    "axes": np.array([1]),
    "axes2": np.array([0, 2]),
    "starts": np.array([1, -3]),
    "ends": np.array([2**63 - 1, -1]),
    "before": np.array([-4, -4]),
    "two_axes": np.array([1, 2]),
    "back": np.array([-1, -1]),
    "sizes": np.array([1, 2]),
    "pads": np.array([0, 1, 0, 0, 0, 2]),
    "pads2": np.array([1, 2]),
    "low": np.array(-0.5, np.float32),
    "high": np.array(0.5, np.float32),
    "four": random(4, seed=1),
    "shape": np.array([0, -1]),
    "index": np.array([0, -1]),
    "no": np.array(False),
}


def outputs_of_onnxruntime(m: onnx.ModelProto, g: Graph, x: np.ndarray) -> Sequence[Any]:
    """The model with the types that we infer for its outputs: onnxruntime refuses wrong ones."""
    for output, value in zip(m.graph.output, g.outputs, strict=True):
        code = helper.np_dtype_to_tensor_dtype(np.dtype(evaluate.DTYPES[value.dtype]))
        output.CopyFrom(helper.make_tensor_value_info(output.name, code, value.shape))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(m.SerializeToString(), options, ["CPUExecutionProvider"]).run(None, {"x": x})


@pytest.mark.parametrize(
    "opset, body",
    [
        (7, "u = Unsqueeze<axes=[0,3]>(x) y = Squeeze<axes=[0]>(u)"),
        (11, "u = Unsqueeze<axes=[-1]>(x) y = Squeeze<axes=[-1]>(u)"),
        (11, "u = Unsqueeze<axes=[0,4]>(x) y = Squeeze(u)"),
        (13, "y = Unsqueeze(x, axes2)"),
        (13, "u = Unsqueeze(x, axes) y = Squeeze(u, axes)"),
        (7, "y = ReduceSum<axes=[1]>(x)"),
        (11, "y = ReduceSum<axes=[-1], keepdims=0>(x)"),
        (13, "y = ReduceSum(x, axes)"),
        (13, "y = ReduceSum<keepdims=0>(x, axes2)"),
        (13, "y = ReduceSum(x)"),
        (13, "y = ReduceSum<noop_with_empty_axes=1>(x)"),
        (7, "y = ReduceMean<axes=[0,2]>(x)"),
        (17, "y = ReduceMean<axes=[0,2]>(x)"),
        (14, "y = ReduceMean(x)"),
        (18, "y = ReduceMean(x, axes2)"),
        (18, "y = ReduceMean<keepdims=0>(x)"),
        (11, "y = ReduceMax<axes=[-1]>(x)"),
        (13, "y = ReduceL2<axes=[1]>(x)"),
        (18, "y = ReduceL2(x, axes)"),
        (7, "y = Slice<starts=[1,-3], ends=[9223372036854775807,-1], axes=[1,2]>(x)"),
        (9, "y = Slice<starts=[0,1], ends=[1,2]>(x)"),
        (10, "y = Slice(x, starts, ends, two_axes)"),
        (13, "y = Slice(x, back, before, two_axes, back)"),
        (13, "y = Slice(x, starts, ends, two_axes, )"),
        (7, "y, z = Split<axis=1, split=[1,2]>(x)"),
        (11, "y, z = Split<axis=-1>(x)"),
        (13, "y, z = Split<axis=1>(x, sizes)"),
        (13, "y, z = Split<axis=2>(x)"),
        (18, "y, z = Split<axis=1, num_outputs=2>(x)"),
        (7, "y = Pad<pads=[0,1,0,0,0,2], value=0.5>(x)"),
        (10, 'y = Pad<pads=[0,1,0,0,0,2], mode="reflect">(x)'),
        (11, "y = Pad(x, pads, low)"),
        (13, "y = Pad(x, pads)"),
        (18, "y = Pad(x, pads2, low, axes)"),
        (7, "y = Clip<min=-0.5, max=0.5>(x)"),
        (7, "y = Clip<max=0.5>(x)"),
        (10, "y = Clip(x)"),
        (11, "y = Clip(x, low, high)"),
        (13, "y = Clip(x, , high)"),
        (7, "y = Softmax<axis=2>(x)"),
        (7, "y = Softmax(x)"),
        (12, "y = LogSoftmax<axis=-2>(x)"),
        (12, "y = Hardmax<axis=0>(x)"),
        (11, "y = Softmax<axis=-1>(x)"),
        (13, "y = Softmax(x)"),
        (13, "y = Softmax<axis=1>(x)"),
        (11, "y = LogSoftmax<axis=2>(x)"),
        (13, "y = LogSoftmax<axis=0>(x)"),
        (13, "y = Hardmax<axis=1>(x)"),
        (7, "y, mask = Dropout<ratio=0.5>(x)"),
        (13, "y = Dropout(x, high)"),
        (13, "y, mask = Dropout(x, high, no)"),
        (7, "y = Reshape(x, shape)"),
        (14, "y = Reshape<allowzero=1>(x, back_to_two)"),
        (9, "u = Constant<value = float {2.5}>() y = Mul(x, u)"),
        (13, "u = Constant<value_float=2.5>() v = Constant<value_ints=[0,-1]>() w = Mul(x, u) y = Reshape(w, v)"),
        (13, "u = Constant<value_int=1>() v = Constant<value_floats=[1.0,2.0]>() y = Gather<axis=1>(x, u) z = Abs(v)"),
        (14, "s = Shape(x) y = ConstantOfShape(s)"),
        (14, "s = Shape(x) y = ConstantOfShape<value = int64[1] {7}>(s)"),
        (15, "s = Shape<start=-2, end=-1>(x) y = Cast<to=1>(s)"),
        (13, "y = Cast<to=7>(x)"),
        (13, "y = Cast<to=9>(x)"),
        (13, "y = Gather<axis=-1>(x, index)"),
        (16, "c = Greater(x, low) y = Where(c, x, high)"),
        (17, "y = LayerNormalization(x, four, four)"),
        (17, "y = LayerNormalization<axis=2, epsilon=0.5>(x, four)"),
        (7, "y = Flatten<axis=2>(x)"),
        (7, "y = Transpose(x)"),
        (8, "y = Max(x, four, low)"),
        (12, "y = ArgMax<axis=1>(x)"),
        (14, "y = Trilu(x)"),
        (14, "y = CumSum(x, one)"),
    ],
)
def test_opsets(opset, body):
    x = random(2, 3, 4)
    names = ["y", "z"] if "z = " in body else ["y"]
    outputs = ", ".join(f"float {n}" for n in names)
    weights = W | {"back_to_two": np.array([-1, 2]), "one": np.array(1)}
    m = model(f"main (float[2,3,4] x) => ({outputs}) {{ {body} }}", weights, opset)
    g = load.load(m)
    actual = evaluate.run(g, {"x": x})
    for name, value, expected in zip(names, g.outputs, outputs_of_onnxruntime(m, g, x), strict=True):
        assert value.name == name
        assert value.type == TensorType(value.dtype, expected.shape)
        np.testing.assert_allclose(actual[name], expected, rtol=1e-5, atol=1e-6)


def test_opsets_that_are_too_old():
    """What an operator meant before opset 7 is known where it stayed the same."""
    assert ops(graph("main (float[2] x) => (float y) { y = Abs(x) }", opset=6)) == {"Abs": 1}
    with pytest.raises(UnsupportedOperator, match=r"Add .*opset 6 .*opset 7 or newer"):
        graph("main (float[2] x) => (float y) { y = Add(x, x) }", opset=6)


def test_opsets_that_are_too_new():
    with pytest.raises(UnsupportedOperator, match=r"opset 99 .*or older"):
        graph("main (float[2] x) => (float y) { y = Abs(x) }", opset=99)


def test_dropout_in_training():
    with pytest.raises(UnsupportedOperator, match="inference"):
        graph("main (float[2] x) => (float y) { y = Dropout(x, r, t) }", {"r": np.float32(0.5), "t": np.array(True)})


def test_random_numbers_are_not_constants():
    with pytest.raises(UnsupportedOperator, match="no kernel for RandomNormal"):
        graph("main (float[4] x) => (float y) { r = RandomNormal<shape=[4]>() y = Add(x, r) }")


# inputs and outputs


def test_dynamic_sizes():
    m = model("main (float[batch, frames, 4] x) => (float y) { y = Abs(x) }")
    m.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "frame count"
    shape = load.load(m).inputs[0].shape
    assert str(TensorType("f32", shape)) == "f32[n_batch,n_frame_count,4]"
    assert (shape[0].low, shape[0].high) == (1, MAX_UNBOUND)
    assert load.load(m, bind={"batch": 2, "frame count": T}).inputs[0].shape == (2, T, 4)
    assert load.load(m, shapes={"x": (1, T, 4)}).outputs[0].shape == (1, T, 4)
    m.graph.input[0].type.tensor_type.shape.dim[0].ClearField("dim_param")
    assert str(load.load(m).inputs[0].shape[0]) == "n_x_0"


def test_sizes_of_similar_names_are_different():
    m = model("main (float[a,b] x) => (float y) { y = Abs(x) }")
    for d, name in zip(m.graph.input[0].type.tensor_type.shape.dim, ("past.0", "past_0"), strict=True):
        d.dim_param = name
    a, b = load.load(m).inputs[0].shape
    assert isinstance(a, Expr) and isinstance(b, Expr) and a != b and str(a) != str(b)


def test_a_size_that_occurs_twice_is_one():
    g = graph("main (float[n,4] x, float[n,4] z) => (float y) { y = Add(x, z) }")
    assert g.inputs[0].shape == g.inputs[1].shape == g.outputs[0].shape


def test_scalars_and_empty_tensors():
    g = graph("main (float[0,3] z, float s) => (float y, float w) { y = Add(s, s) w = Abs(z) }")
    assert [str(v.type) for v in g.inputs] == ["f32[0,3]", "f32[]"]
    result = evaluate.run(g, {"z": np.zeros((0, 3), np.float32), "s": np.float32(2)})
    assert result["y"] == 4 and result["w"].shape == (0, 3)


def test_an_input_without_a_rank():
    with pytest.raises(UnsupportedOperator, match=r"input x .*; export"):
        graph("main (seq(float[2]) x) => (float y) { y = SequenceLength(x) }")
    m = model("main (float[2] x) => (float y) { y = Abs(x) }")
    m.graph.input[0].type.tensor_type.ClearField("shape")
    with pytest.raises(BadModel, match="input x has no shape"):
        load.load(m)


def test_an_input_that_is_bound_becomes_a_constant():
    g = graph("main (float[4] x, int64[1] n) => (float y) { y = Reshape(x, n) }", n=np.array([4]))
    assert [v.name for v in g.inputs] == ["x"]
    assert g.outputs[0].shape == (4,)


def test_weights_listed_as_inputs_are_weights():
    """As IR version 3 wanted it."""
    m = model("main (float[4] x, float[4] w) => (float y) { y = Mul(x, w) }", {"w": random(4)})
    g = load.load(m)
    assert [v.name for v in g.inputs] == ["x"]
    assert load.input_types(m) == {"x": ("f32", 1)}


def test_outputs_keep_their_names():
    body = "a = Identity(x) b = Abs(x) c = Identity(b) d = Identity(w)"
    g = graph(f"main (float[4] x) => (float a, float b, float c, float d) {{ {body} }}", {"w": random(4)})
    assert [v.name for v in g.outputs] == ["a", "b", "c", "d"] and [v.name for v in g.inputs] == ["x"]
    x = random(4, seed=3)
    result = evaluate.run(g, {"x": x})
    np.testing.assert_array_equal(result["a"], x)
    np.testing.assert_array_equal(result["c"], np.abs(x))
    np.testing.assert_array_equal(result["d"], random(4))


# branches

MERGED = """
    main (bool[1] cached, float[2] x) => (float[2] y) <float[2] shared = {1.0, 2.0}, float[2] h = {10.0, 20.0}> {
        t = Add(x, shared)
        y = If(cached) <
            then_branch = past () => (float[2] y) { h = Mul(t, shared) y = Abs(h) },
            else_branch = first () => (float[2] y) { t2 = Add(t, h) y = Neg(t2) }
        >
    }
"""


@pytest.mark.parametrize("cached, expected", [(True, [2, 8]), (False, [-12, -24])])
def test_branches_are_inlined(cached, expected):
    """Inner names may be those of outer values and of the graph's outputs; inner nodes read outer weights."""
    g = graph(MERGED, cached=np.array([cached]))
    assert "If" not in ops(g)
    assert [v.name for v in g.outputs] == ["y"]
    result = evaluate.run(g, {"x": np.array([1, 2], np.float32)})["y"]
    assert result.tolist() == expected


def test_names_of_a_branch_end_with_it():
    text = MERGED.replace("y = If", "u = If").replace("=> (float[2] y) <", "=> (float[2] z) <", 1)
    g = graph(text.replace("        >\n    }", "        >\n z = Add(u, h) }"), cached=np.array([True]))
    assert evaluate.run(g, {"x": np.array([1, 2], np.float32)})["z"].tolist() == [12, 28]


def test_branches_in_branches():
    text = """main (bool a, bool b, float[2] x) => (float[2] y) {
        y = If(a) <
            then_branch = outer () => (float[2] p) {
                t = Neg(x)
                p = If(b) <then_branch = inner () => (float[2] q) { q = Abs(t) },
                           else_branch = other () => (float[2] q) { q = Add(t, t) }>
            },
            else_branch = plain () => (float[2] p) { p = Identity(x) }
        >
    }"""
    x = np.array([1, -2], np.float32)
    for a, b, expected in ((True, True, [1, 2]), (True, False, [-2, 4]), (False, True, [1, -2])):
        g = graph(text, a=np.array(a), b=np.array(b))
        assert evaluate.run(g, {"x": x})["y"].tolist() == expected


def test_a_condition_from_shapes():
    text = """main (float[T,4] x) => (float y) {
        s = Shape(x) n = Gather(s, i) c = Greater(n, zero)
        y = If(c) <then_branch = a () => (float p) { p = Abs(x) }, else_branch = b () => (float p) { p = Neg(x) }>
    }"""
    assert ops(graph(text, {"i": np.array(0), "zero": np.array(0)}))["Abs"] == 1


@pytest.mark.parametrize("comparison, limit", [("Greater", 48), ("GreaterOrEqual", 47), ("Less", 47)])
def test_a_condition_that_distinguishes_sizes_names_the_limit(comparison: str, limit: int):
    """T is up to 64. Phi-3's tables for long texts are chosen in this way."""
    text = f"""main (float[T,4] x) => (float y) {{
        s = Shape(x) n = Gather(s, i) c = {comparison}(n, long)
        y = If(c) <then_branch = a () => (float p) {{ p = Abs(x) }}, else_branch = b () => (float p) {{ p = Neg(x) }}>
    }}"""
    weights = {"i": np.array(0), "long": np.array(48)}
    with pytest.raises(
        UnsupportedOperator, match=rf"up to {limit} from larger ones; compile with --max-length {limit}"
    ):
        graph(text, weights)
    bound = graph(text, weights, T=range(1, limit + 1))
    assert ("Abs" in ops(bound), "Neg" in ops(bound)) == (comparison == "Less", comparison != "Less")


def test_a_condition_of_the_run_is_refused():
    with pytest.raises(UnsupportedOperator, match="condition is computed at run time"):
        graph(MERGED)


# operators


def test_one_error_lists_everything_that_is_unsupported():
    """Every operator with its nodes and why, also of nodes that read what others should have made."""
    m = model(
        "main (float[4] x, int64 n) => (float[4] y) { [first] a = com.acme.Magic(x) [second] b = com.acme.Magic(a)"
        " c = Nonsense(b) [boxes] d = MaxRoiPool(c, n) [clock] e = com.acme.Now() [count] f = Range(n, n, n)"
        " [drop] g = Dropout(x, r, t) [fine] h = Add(e, g) y = Add(g, h) }",
        {"r": np.float32(0.5), "t": np.array(True)},
    )
    m.opset_import.append(helper.make_opsetid("com.acme", 1))
    with pytest.raises(UnsupportedOperator) as e:
        load.load(m)
    facts = [
        r"Dropout \(drop\): .*inference",
        r"no kernel for MaxRoiPool \(boxes\): docs/operators.md",
        r"Nonsense \(Nonsense_2\): .*not an ONNX operator",
        r"Range \(count\): .*the bound n is computed at run time",
        r"com.acme.Magic \(2 nodes: first, second\): .*not an ONNX operator",
        r"com.acme.Now \(clock\): .*not an ONNX operator.*opset 18",
    ]
    assert re.search(".*\n".join(facts), "\n".join(map(str, e.value.reasons)) + str(e.value))
    assert len(str(e.value)) <= MOST and "4 more" in str(e.value)


def test_many_nodes_are_counted():
    body = " ".join(f"[n{i}] a{i} = Nonsense(x)" for i in range(20))
    with pytest.raises(UnsupportedOperator, match=r"Nonsense \(20 nodes: n0, n1, n2, and 17 more\)"):
        graph(f"main (float[4] x) => (float y) {{ {body} y = Abs(x) }}")


def test_what_a_branch_that_is_not_taken_needs_does_not_matter():
    text = MERGED.replace("Abs", "Nonsense")
    assert ops(graph(text, cached=np.array([False])))
    with pytest.raises(UnsupportedOperator, match="Nonsense"):
        graph(text, cached=np.array([True]))


# loops

LOOP = """
    main (int64 n, bool go, float[2] x) => (float[2] y, float[k,2] all) {
        y, all = Loop(n, go, x) <body = again (int64 i, bool on, float[2] v) => (bool on2, float[2] w, float[2] seen) {
            f = Cast <to = 1> (i)
            w = Add(v, f)
            seen = Mul(w, x)
            three = Constant <value = int64 {3}> ()
            on2 = Less(i, three)
        }>
    }
"""
SCAN = """
    main (float[2] start, float[2,3] rows) => (float[2] last, float[2,3] sums) {
        last, sums = Scan <num_scan_inputs = 1, scan_input_axes = [1], scan_input_directions = [1],
                           scan_output_axes = [-1], scan_output_directions = [1],
            body = add (float[2] sum, float[2] row) => (float[2] sum2, float[2] out) {
                sum2 = Add(sum, row)
                out = Identity(sum2)
            }> (start, rows)
    }
"""


def against_onnxruntime(m: onnx.ModelProto, feeds: dict[str, np.ndarray], *bound: str) -> Graph:
    g = load.load(m, bind={name: feeds[name] for name in bound})
    session = onnxruntime.InferenceSession(m.SerializeToString(), providers=["CPUExecutionProvider"])
    wanted = dict(zip([o.name for o in m.graph.output], session.run(None, feeds), strict=True))
    for name, array in evaluate.run(g, {k: v for k, v in feeds.items() if k not in bound}).items():
        np.testing.assert_allclose(array, wanted[name], rtol=1e-5)
    return g


@pytest.mark.parametrize("trips", [1, 3, 9])
def test_loops_are_unrolled(trips):
    """As often as the trip count says, or until the condition, which follows from the step, no longer holds."""
    feeds = {"n": np.array(trips), "go": np.array(True), "x": np.array([1, -2], np.float32)}
    g = against_onnxruntime(model(LOOP), feeds, "n", "go")
    assert ops(g)["Mul"] == min(trips, 4)


def test_scans_are_unrolled():
    against_onnxruntime(model(SCAN), {"start": random(2), "rows": random(2, 3, seed=1)})


def test_loops_of_unknown_length_are_refused():
    with pytest.raises(UnsupportedOperator, match=r"Loop.*the trip count is computed at run time"):
        graph(LOOP, go=np.array(True))
    with pytest.raises(UnsupportedOperator, match=r"Loop.*without iterations"):
        graph(LOOP, go=np.array(True), n=np.array(0))
    with pytest.raises(UnsupportedOperator, match=r"Scan .*iterations, T, "):
        graph(SCAN.replace("rows)", "rows)", 1).replace("float[2,3] rows", "float[2,T] rows"))


def test_loops_that_take_too_long_are_refused():
    """Nested ones too, of which each is short."""
    inner = """y = Loop(n, go, x) <body = again (int64 i, bool on, float[2] v) => (bool on2, float[2] w) {
        on2 = Identity(on) w = Neg(v) }>"""
    deep = inner.replace("y = Loop", "w = Loop").replace("again", "more").replace("(n, go, x)", "(n, go, v)")
    outer = inner.replace("w = Neg(v)", deep)
    text = f"main (int64 n, bool go, float[2] x) => (float[2] y) {{ {outer} }}"
    assert ops(graph(text, go=np.array(True), n=np.array(9)))["Neg"] == 81
    for trips in (1000, 2**62):
        with pytest.raises(UnsupportedOperator, match="takes more than"):
            graph(text, go=np.array(True), n=np.array(trips))


# operators that ONNX defines by others


@pytest.mark.parametrize(
    "text, made",
    [
        ("y = Celu <alpha = 0.5> (x)", "Elu"),
        ("y = Selu(x)", "Exp"),
        ("y = ThresholdedRelu <alpha = 0.7> (x)", "Where"),
        ("y = Softsign(x)", "Abs"),
        ("y, mean, deviation = LayerNormalization(x, s)", "ReduceMean"),
        ("y = MeanVarianceNormalization <axes = [0]> (x)", "ReduceMean"),
        ("b = Constant <value_float = 0.1> () y = CastLike(b, x)", ""),
    ],
)
def test_functions_of_onnx_are_written_out(text, made):
    m = model(f"main (float[3,4] x) => (float y) {{ {text} }}", {"s": np.ones(4, np.float32)})
    m.graph.output[0].type.tensor_type.ClearField("shape")
    g = against_onnxruntime(m, {"x": random(3, 4)})
    assert not made or made in ops(g)


FUNCTION = """<ir_version: 8, opset_import: ["" : 18, "local" : 1]>
    main (float[4] x) => (float[4] y) { a = local.twice(x) y = local.twice(a) }
    <opset_import: ["" : 18], domain: "local"> twice (v) => (w) { w = Add(v, v) }"""


def test_functions_of_the_model_are_inlined():
    g = load.load(onnx.parser.parse_model(FUNCTION))
    assert ops(g) == {"Add": 2}
    assert evaluate.run(g, {"x": np.ones(4, np.float32)})["y"].tolist() == [4] * 4


def test_a_function_that_calls_itself():
    m = onnx.parser.parse_model(FUNCTION.replace("Add(v, v)", "local.twice(v)"))
    m.functions[0].opset_import.append(helper.make_opsetid("local", 1))
    with pytest.raises(BadModel):
        load.load(m)


# weights


@pytest.mark.parametrize("raw", [True, False])
@pytest.mark.parametrize("shape", [(), (0, 3), (2, 3)])
@pytest.mark.parametrize("dtype", ["float32", "float16", "float64", "int64", "int32", "int8", "uint8", "bool"])
def test_weights(dtype, shape, raw):
    expected = (random(6, seed=2)[: int(np.prod(shape))] * 10).astype(dtype).reshape(shape)
    code = helper.np_dtype_to_tensor_dtype(expected.dtype)
    tensor = helper.make_tensor("w", code, shape, expected.tobytes() if raw else expected.flatten().tolist(), raw=raw)
    actual = tensors.array(tensor, None)
    assert actual.dtype == expected.dtype and actual.shape == shape
    np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize(
    "code", [TensorProto.FLOAT8E4M3FN, TensorProto.COMPLEX64, TensorProto.STRING, TensorProto.INT2, 0, 99]
)
def test_weights_of_other_types(code):
    m = model("main (float[1] x) => (float y) { y = Abs(x) }")
    m.graph.initializer.append(TensorProto(name="w", data_type=code, dims=[1], raw_data=b"\0" * 8))
    with pytest.raises(BadModel, match="the weight w: "):
        load.load(m)


def external(**info: object) -> onnx.ModelProto:
    m = model("main (float[4] x) => (float y) { y = Mul(x, w) }")
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    for key, value in info.items():
        tensor.external_data.add(key=key, value=str(value))
    m.graph.initializer.append(tensor)
    return m


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "model"
    made.mkdir()
    (made / "weights.data").write_bytes(b"abc" + random(5).tobytes())
    (tmp_path / "secret.data").write_bytes(random(4).tobytes())
    return made


def test_weights_in_a_file_are_mapped(folder):
    for info in ({"offset": 7, "length": 16}, {"offset": 7}):
        g = load.load(external(location="weights.data", **info), folder=folder)
        weight = g.nodes[0].inputs[1].const
        assert isinstance(weight.base, mmap.mmap)
        np.testing.assert_array_equal(weight, random(5)[1:])


def test_a_file_is_mapped_once(folder):
    """Each mapping takes a file descriptor, and large models have more weights than a process may have of those."""
    m = external(location="weights.data", offset=7)
    other = m.graph.initializer.add()
    other.CopyFrom(m.graph.initializer[0])
    other.name = "v"
    m.graph.node.add(op_type="Sub", input=["y", "v"], output=["z"])
    m.graph.output[0].name = "z"
    first, second = (n.inputs[1].const for n in load.load(m, folder=folder).nodes)
    assert first.base is second.base
    (folder / "weights.data").unlink()
    (folder / "weights.data").write_bytes(b"abc" + random(6).tobytes()[4:])
    again = load.load(m, folder=folder).nodes[0].inputs[1].const
    np.testing.assert_array_equal(again, random(6)[2:])
    np.testing.assert_array_equal(first, random(5)[1:])


def test_weights_in_a_folder_below(folder):
    (folder / "sub").mkdir()
    (folder / "sub" / "w").write_bytes(random(4).tobytes())
    load.load(external(location="sub/w"), folder=folder)
    load.load(external(location="sub/../sub/w"), folder=folder)
    (folder / "link").symlink_to("sub/w")
    load.load(external(location="link"), folder=folder)


@pytest.mark.parametrize(
    "info, message",
    [
        ({"location": "missing.data"}, "missing.data is missing; copy it beside the model"),
        ({"location": "weights.data", "offset": 12}, "too short"),
        ({"location": "weights.data", "offset": -4}, "too short"),
        ({"location": "weights.data", "offset": 2**70}, "too short"),
        ({"location": "weights.data", "offset": "many"}, "many"),
        ({"location": "weights.data", "length": 12}, "12 bytes"),
        ({"location": "weights.data", "length": -1}, "-1 bytes"),
        ({"location": "../secret.data"}, "outside of the model's folder"),
        ({"location": "sub/../../secret.data"}, "outside of the model's folder"),
        ({"location": "/etc/hostname"}, "outside of the model's folder"),
        ({"location": "link.data"}, "outside of the model's folder"),
        ({"location": "linked/secret.data"}, "outside of the model's folder"),
        ({"location": "nul\0byte"}, "the weight w"),
        ({"location": "x" * 5000}, "the weight w"),
        ({"location": "."}, "missing"),
        ({}, "missing"),
    ],
)
def test_weights_in_files_that_cannot_be(folder, info, message):
    (folder / "link.data").symlink_to(folder.parent / "secret.data")
    (folder / "linked").symlink_to(folder.parent)
    with pytest.raises(BadModel, match="the weight w") as e:
        load.load(external(**info), folder=folder)
    assert message in str(e.value)


def test_weights_in_files_without_a_folder():
    with pytest.raises(BadModel, match="from its path"):
        load.load(external(location="weights.data"))


def test_a_large_shape_does_not_wrap_around(folder):
    m = external(location="weights.data")
    m.graph.initializer[0].dims[:] = [2**32, 2**32]
    with pytest.raises(BadModel, match="too short"):
        load.load(m, folder=folder)


# files


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0",
        b"hello, world",
        b"\x08\x07",
        b"{}",
        bytes(range(256)),
        onnx.ModelProto(ir_version=8).SerializeToString(),
    ],
)
@pytest.mark.parametrize("name", ["model.onnx", "model.json", "model.textproto"])
def test_files_that_are_not_models(tmp_path, content, name):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadModel, match="is not an ONNX model"):
        load.read(tmp_path / name)


def test_a_file_that_is_missing(tmp_path):
    with pytest.raises(BadModel, match="does not exist"):
        load.read(tmp_path / "model.onnx")
    with pytest.raises(BadModel, match="does not exist"):
        load.read(tmp_path)


def test_a_file_cut_short(tmp_path):
    whole = (FIXTURES / "whisper-split-18" / "encoder_model.onnx").read_bytes()
    for size in (1, 100, len(whole) // 2, len(whole) - 1):
        (tmp_path / "model.onnx").write_bytes(whole[:size])
        with pytest.raises(BadModel):
            load.load(load.read(tmp_path / "model.onnx"))


# graphs that contradict themselves


@pytest.mark.parametrize(
    "text, message",
    [
        ("main (float[4] x) => (float y) { y = Add(x, ghost) }", "reads ghost"),
        ("main (float[4] x) => (float y) { z = Abs(x) }", "reads y"),
        ("main (float[4] x) => (float y) { a = Add(x, b) b = Abs(a) y = Abs(b) }", "reads b"),
        ("main (float[4] x) => (float y) { y = Abs(x) y = Neg(x) }", "y is defined twice"),
        ("main (float[4] x) => (float y) { x = Abs(x) y = Neg(x) }", "x is defined twice"),
        ("main (float[4] x, float[4] x) => (float y) { y = Neg(x) }", "x is defined twice"),
        ("main (float[4] x) => (float y, float y) { y = Neg(x) }", "outputs"),
        ("main (float[4] x) => () { y = Neg(x) }", "outputs"),
        ("main (float[4] x, float[5] z) => (float y) { y = Add(x, z) }", "[4], [5]"),
        ("main (float[4,5] x, float[4,5] z) => (float y) { y = MatMul(x, z) }", "MatMul"),
        ("main (float[4] x, int64[4] z) => (float y) { y = Add(x, z) }", "B does not accept z: i64[4]"),
        ("main (float[4] x, float[4] z) => (float y) { y = And(x, z) }", "A does not accept x: f32[4]"),
        ("main (float[4] x, float[4] z) => (float y) { y = Where(x, x, z) }", "condition does not accept x"),
        ("main (float[4] x, int64[4] z) => (float y) { y = Concat<axis=0>(x, z) }", "does not accept z"),
        ("main (int64[4] x) => (float y) { y = Erf(x) y2 = Softmax(x) }", "does not accept x"),
        ("main (float[4] x) => (float y) { y = Concat<axis=1>(x, x) }", "axis 1 is outside"),
        ("main (float[4] x) => (float y) { y = Concat<axis=-2>(x, x) }", "axis -2"),
        ("main (float[4,2] x, float[3,2] z) => (float y) { y = Concat<axis=1>(x, z) }", "cannot concatenate"),
        ("main (float[4] x) => (float y) { y = Concat(x, x) }", "axis"),
        ("main (float[4] x) => (float y) { y = Abs(x, x) }", "Abs"),
        ("main (float[4] x) => (float y) { y = Abs() }", "Abs"),
        ("main (float[4] x) => (float y) { y = Abs<axis=1>(x) }", "axis"),
        ("main (float[4,2] x) => (float y) { y = Transpose<perm=[0,0]>(x) }", "Transpose"),
        ("main (float[4,2] x) => (float y) { y = Transpose<perm=[0,7]>(x) }", "Transpose"),
        ("main (float[4,2] x) => (float y) { y = Reshape(x, s5) }", "reshaped to [5]"),
        ("main (float[4,2] x) => (float y) { y = Reshape(x, s3) }", "reshaped to [3, -1]"),
        ("main (float[4,2] x) => (float y) { y = Reshape(x, s11) }", "reshaped to [-1, -1]"),
        ("main (float[4,2] x) => (float y) { y = Reshape(x, s000) }", "reshaped to [0, 0, 0]"),
        ("main (float[4,2] x) => (float y) { y = Reshape(x, s_5) }", "reshaped to [-5, 2]"),
        ("main (float[4,2] x) => (float y) { y = Expand(x, s_5) }", "[-5, 2] has a negative size"),
        ("main (float[4,2] x) => (float y) { y = Slice(x, s5, s3) }", "ends [3, -1]"),
        ("main (float[4,2] x) => (float y) { y = Slice(x, s0, s5, s7) }", "axis 7"),
        ("main (float[4,2] x) => (float y) { y = Slice(x, s0, s5, s0, s0) }", "steps [0]"),
        ("main (float[4,2] x) => (float y, float z) { y, z = Split<axis=0>(x, s3) }", "cannot be split"),
        ("main (float[4,2] x) => (float y) { y = Pad(x, s5) }", "two numbers for each of the axes [0, 1], got [5]"),
        ("main (float[4,2] x) => (float y) { y = Tile(x, s5) }", "cannot be repeated"),
        ("main (float[4,2] x) => (float y) { y = Gather<axis=4>(x, s0) }", "Gather"),
        ("main (float[4,2] x) => (float y) { y = Squeeze(x, s0) }", "Squeeze"),
        ("main (float[4,2] x) => (float y) { y = Softmax<axis=2>(x) }", "axis 2"),
        ("main (float[4,2] x) => (float y) { y = Cast<to=8>(x) }", "strings"),
        ("main (float[4,2] x) => (float y) { y = Cast<to=77>(x) }", "77"),
        ("main (float[4,2] x) => (float y) { y = Constant() }", "Constant"),
        ('main (float[4,2] x) => (float y) { y = Constant<value_string="a">() }', "Constant"),
        ("main (float[4,2] x) => (float y) { s = Shape(x) i = Gather(s, s5) y = ConstantOfShape(i) }", "Gather"),
        ("main (float[T,2] x) => (float y) { s = Shape(x) i = Gather(s, s5) y = ConstantOfShape(i) }", "Gather"),
        ("main (float[T,2] x) => (float y) { s = Shape(x) i = Squeeze(s, s0) y = ConstantOfShape(i) }", "Squeeze"),
        ("main (float[T,2] x) => (float y) { s = Shape(x) i = Div(s, s0) y = ConstantOfShape(i) }", ""),
        ("main (float[T,2] x) => (float y) { s = Shape(x) i = Reshape(s, s3) y = ConstantOfShape(i) }", "Reshape"),
        ("main (float[T,2] x) => (float y) { s = Shape(x) i = Range(s, s, s) y = ConstantOfShape(i) }", ""),
        ("main (float[4,2] x) => (float y) { y = Range(zero, inf, inf) }", "Range"),
        ("main (float[4,2] x) => (float y) { y = Range(zero, inf, zero) }", "Range"),
        ("main (float[4,2] x, float z) => (float y) { y = Range(zero, z, z) }", "Range"),
        ("main (float[4,2] x) => (float y) { y = Conv(x, x) }", "Conv"),
        ("main (float[4] x) => (float y) { y = If(x)<then_branch = a () => (float p) { p = Abs(x) }> }", "If"),
    ],
)
def test_contradictions(text, message):
    weights = {
        "s0": np.array([0]),
        "s3": np.array([3, -1]),
        "s5": np.array([5]),
        "s7": np.array([7]),
        "s11": np.array([-1, -1]),
        "s000": np.array([0, 0, 0]),
        "s_5": np.array([-5, 2]),
        "zero": np.array(0, np.float32),
        "inf": np.array(np.inf, np.float32),
    }
    with pytest.raises(BadModel) as e:
        graph(text, weights)
    assert message in str(e.value)


def test_a_negative_size():
    m = model("main (float[4] x) => (float y) { y = Abs(x) }")
    m.graph.input[0].type.tensor_type.shape.dim[0].dim_value = -3
    with pytest.raises(BadModel, match="-3"):
        load.load(m)


def test_a_node_without_outputs():
    m = model("main (float[4] x) => (float y) { y = Abs(x) }")
    m.graph.node[0].output.pop()
    with pytest.raises(BadModel):
        load.load(m)


def test_sparse_weights():
    m = model("main (float[4] x) => (float y) { y = Abs(x) }")
    m.graph.sparse_initializer.add()
    with pytest.raises(UnsupportedOperator, match="sparse"):
        load.load(m)
