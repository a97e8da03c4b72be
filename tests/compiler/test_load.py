"""Loading: opsets and exporters against onnxruntime, branches, weights in files, and every way to be broken."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from graphs import T, feeds, graph, model, ops, random
from onnx import TensorProto, helper, numpy_helper

from intaglio.compiler import evaluate, load
from intaglio.compiler.dims import Symbol, dim
from intaglio.compiler.ir import BadModel, TensorType, UnsupportedOperator

FIXTURES = Path(__file__).parent.parent / "fixtures"

# opsets: what one opset writes as an attribute is an input in the next

W = {
    "axes": np.array([1]),
    "axes2": np.array([0, 2]),
    "starts": np.array([1, -3]),
    "ends": np.array([2**63 - 1, -1]),
    "two_axes": np.array([1, 2]),
    "back": np.array([-1, -1]),
    "sizes": np.array([1, 2]),
    "pads": np.array([0, 1, 0, 0, 0, 2]),
    "pads2": np.array([1, 2]),
    "value": np.array(0.5, np.float32),
    "low": np.array(-0.5, np.float32),
    "high": np.array(0.5, np.float32),
    "shape": np.array([0, -1]),
    "index": np.array([0, -1]),
}


@pytest.mark.parametrize(
    "opset, body",
    [
        *((o, "y = Squeeze<axes=[0]>(u) u = Unsqueeze<axes=[0,3]>(x)") for o in (7, 11)),
        (13, "u = Unsqueeze(x, axes) y = Squeeze(u, axes)"),
        (11, "u = Unsqueeze<axes=[-1]>(x) y = Squeeze(u)"),
        *((o, "y = ReduceSum<axes=[1]>(x)") for o in (7, 11)),
        *((o, "y = ReduceSum<axes=[-1], keepdims=0>(x)") for o in (11,)),
        (13, "y = ReduceSum(x, axes)"),
        (13, "y = ReduceSum<keepdims=0>(x, axes2)"),
        (13, "y = ReduceSum(x)"),
        (13, "y = ReduceSum<noop_with_empty_axes=1>(x)"),
        *((o, "y = ReduceMean<axes=[0,2]>(x)") for o in (7, 14, 17)),
        (18, "y = ReduceMean(x, axes2)"),
        (14, "y = ReduceMean(x)"),
        (18, "y = ReduceMean<keepdims=0>(x)"),
        *((o, "y = ReduceMax<axes=[-1]>(x)") for o in (11, 13)),
        (18, "y = ReduceL2(x, axes)"),
        (7, "y = Slice<starts=[1,-3], ends=[9223372036854775807,-1], axes=[1,2]>(x)"),
        (9, "y = Slice<starts=[0,1], ends=[1,2]>(x)"),
        (10, "y = Slice(x, starts, ends, two_axes)"),
        (13, "y = Slice(x, back, starts, two_axes, back)"),
        (7, "y, z = Split<axis=1, split=[1,2]>(x)"),
        (11, "y, z = Split<axis=-1>(x)"),
        (13, "y, z = Split<axis=1>(x, sizes)"),
        (13, "y, z = Split<axis=2>(x)"),
        (18, "y, z = Split<axis=1, num_outputs=2>(x)"),
        (7, "y = Pad<pads=[0,1,0,0,0,2], value=0.5>(x)"),
        (10, 'y = Pad<pads=[0,1,0,0,0,2], mode="reflect">(x)'),
        (11, "y = Pad(x, pads, value)"),
        (13, "y = Pad(x, pads)"),
        (18, "y = Pad(x, pads2, value, axes)"),
        (7, "y = Clip<min=-0.5, max=0.5>(x)"),
        (7, "y = Clip<max=0.5>(x)"),
        (10, "y = Clip(x)"),
        (11, "y = Clip(x, low, high)"),
        (13, "y = Clip(x, , high)"),
        (7, "y = Softmax<axis=2>(x)"),
        (11, "y = Softmax<axis=-1>(x)"),
        (13, "y = Softmax(x)"),
        (13, "y = Softmax<axis=1>(x)"),
        (11, "y = LogSoftmax<axis=2>(x)"),
        (13, "y = LogSoftmax<axis=0>(x)"),
        (13, "y = Hardmax<axis=1>(x)"),
        (7, "y, m = Dropout<ratio=0.5>(x)"),
        (13, "y = Dropout(x, low)".replace("low", "high")),
        (7, "y = Reshape(x, shape)"),
        (9, "u = Constant<value = float {2.5}>() y = Mul(x, u)"),
        (13, "u = Constant<value_float=2.5>() v = Constant<value_ints=[0,-1]>() w = Mul(x, u) y = Reshape(w, v)"),
        (14, "s = Shape(x) y = ConstantOfShape(s)"),
        (15, "s = Shape<start=-2, end=-1>(x) y = Expand(x, one_s) one_s = Concat<axis=0>(s, s, s)".replace(
            "y = Expand(x, one_s) one_s = Concat<axis=0>(s, s, s)", "y = Cast<to=1>(s)")),
        (13, "y = Cast<to=7>(x)"),
        (13, "y = Gather<axis=-1>(x, index)"),
        (16, "c = Greater(x, low) y = Where(c, x, high)"),
        (17, "y = LayerNormalization(x, s4, s4) s4 = Constant<value_floats=[1.0,2.0,3.0,4.0]>()"),
    ],
)  # fmt: skip
def test_opsets(opset, body):
    nodes = onnx.parser.parse_graph(f"g () => () {{ {body} }}").node
    read = {i for n in nodes for i in n.input}
    outputs = [o for n in nodes for o in n.output if o not in read and o != "m"]
    # the text form wants every value before its use
    ordered = sorted(nodes, key=lambda n: any(i in {o for m in nodes for o in m.output} for i in n.input))
    g = onnx.parser.parse_graph(f"g () => () {{ {body} }}")
    del g.node[:]
    g.node.extend(ordered)
    whole = model(f"main (float[2,3,4] x) => ({', '.join(f'float {o}' for o in outputs)}) {{ y = Abs(x) }}", W, opset)
    del whole.graph.node[:]
    whole.graph.node.extend(ordered)
    loaded = load.load(whole)
    x = random(2, 3, 4)
    for output in whole.graph.output:
        output.type.Clear()
        output.type.tensor_type.elem_type = 0
    actual = evaluate.run(loaded, {"x": x})
    session = onnxruntime.InferenceSession(with_types(whole, loaded), providers=["CPUExecutionProvider"])
    for name, expected in zip(outputs, session.run(outputs, {"x": x}), strict=True):
        np.testing.assert_allclose(actual[name], expected, rtol=1e-5, atol=1e-6)
        value = next(v for v in loaded.outputs if v.name == name)
        assert value.type.shape == expected.shape
        assert np.dtype(evaluate.DTYPES[value.dtype]) == expected.dtype


def with_types(m: onnx.ModelProto, loaded) -> bytes:
    """The model with the types that we infer for its outputs: onnxruntime refuses wrong ones."""
    for output, value in zip(m.graph.output, loaded.outputs, strict=True):
        code = helper.np_dtype_to_tensor_dtype(np.dtype(evaluate.DTYPES[value.dtype]))
        output.CopyFrom(helper.make_tensor_value_info(output.name, code, value.shape))
    return m.SerializeToString()
