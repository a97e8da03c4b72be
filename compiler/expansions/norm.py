"""Norms that ONNX defines by formulas: over batches, instances, neighbouring channels and one axis."""

from __future__ import annotations

from intaglio.compiler.ir.errors import BadModel
from intaglio.compiler.ir.nodes import Node
from intaglio.compiler.ir.values import Value
from intaglio.compiler.rewrite.builder import GraphBuilder


def _batch(op: GraphBuilder, node: Node) -> list[Value]:
    x, scale, bias, mean, variance = node.inputs
    results: list[Value] = []
    if node.attrs.get("training_mode"):
        momentum = node.attrs.get("momentum", 0.9)
        axes = [a for a in range(len(x.shape)) if a != 1]
        current = _moments(op, x, *axes, keepdims=0)
        for running, batch in zip((mean, variance), current, strict=True):
            old = op.Mul(running, op.number(momentum, running))
            results.append(op.Add(old, op.Cast(op.Mul(batch, op.number(1 - momentum, batch)), to=running.dtype)))
        mean, variance = current
    deviation = op.Sqrt(op.Add(variance, op.number(node.attrs.get("epsilon", 1e-5), variance)))
    factor = op.Div(op.Cast(scale, to=variance.dtype), deviation)
    shift = op.Sub(op.Cast(bias, to=variance.dtype), op.Mul(mean, factor))
    factor, shift = (op.Cast(v, to=x.dtype) for v in (factor, shift))
    if (maker := _own_convolution(op, x)) is not None and factor.const is not None and shift.const is not None:
        before, _, *own = maker.inputs
        added = op.Add(op.Mul(own[0], factor), shift) if own and own[0] is not None else shift
        return list(op.node(maker.op, (before, _scaled(op, maker, factor), added), **maker.attrs))
    return [op.Add(op.Mul(x, _by_channel(op, factor, x)), _by_channel(op, shift, x)), *results]


def _own_convolution(op: GraphBuilder, x: Value) -> Node | None:
    """The convolution with known weights that x comes from, if nobody else reads it: it can do what follows."""
    maker, graph = op.graph.producer(x), op.graph
    if maker is None or maker.op not in ("Conv", "ConvTranspose"):
        return None
    if len(graph.consumers(x)) > 1 or x in graph.outputs:
        return None
    return maker if all(v is None or v.const is not None for v in maker.inputs[1:]) else None


def _scaled(op: GraphBuilder, convolution: Node, factor: Value) -> Value:
    """The weight, [out, in / group, ...] or [in, out / group, ...], times a number for each channel of the result."""
    weight, groups = convolution.inputs[1], convolution.attrs.get("group", 1)
    taps = weight.shape[2:]
    apart = (groups, -1, 1) if convolution.op == "Conv" else (groups, 1, -1)
    rows = op.Reshape(factor, op.integers(*apart, *[1] * len(taps)))
    grouped = op.Reshape(weight, op.dimensions(groups, weight.shape[0] // groups, *weight.shape[1:]))
    return op.Reshape(op.Mul(grouped, rows), op.dimensions(*weight.shape))


def _instance(op: GraphBuilder, node: Node) -> list[Value]:
    x, scale, bias = node.inputs
    if len(x.shape) < 3:
        raise BadModel(f"InstanceNormalization ({node.name}): expected an input [batch, channels, ...], got {x.type}")
    mean, variance = _moments(op, x, *range(2, len(x.shape)))
    deviation = op.Sqrt(op.Add(variance, op.number(node.attrs.get("epsilon", 1e-5), x)))
    y = op.Mul(op.Div(op.Sub(x, mean), deviation), _by_channel(op, scale, x))
    return [op.Add(y, _by_channel(op, bias, x))]


def _moments(op: GraphBuilder, x: Value, *axes: int, keepdims: int = 1) -> tuple[Value, Value]:
    """Mean and variance over the axes."""
    along = op.integers(*axes)
    mean = op.ReduceMean(x, along, keepdims=1)
    distance = op.Sub(x, mean)
    variance = op.ReduceMean(op.Mul(distance, distance), along, keepdims=keepdims)
    return (mean if keepdims else op.Squeeze(mean, along)), variance


def _by_channel(op: GraphBuilder, row: Value, x: Value) -> Value:
    """A number for each channel, which is the axis 1 of x."""
    return op.Reshape(row, op.integers(-1, *[1] * (len(x.shape) - 2)))


def _lp(op: GraphBuilder, node: Node) -> list[Value] | None:
    (x,) = node.inputs
    if node.attrs.get("p", 2) not in (1, 2):
        return None
    reduce = op.ReduceL1 if node.attrs.get("p", 2) == 1 else op.ReduceL2
    size = reduce(x, op.integers(node.attrs.get("axis", -1)), keepdims=1)
    return [op.Div(x, op.Where(op.Equal(size, op.number(0, x)), op.number(1, x), size))]


def _local_response(op: GraphBuilder, node: Node) -> list[Value]:
    """The mean of the squares of neighbouring channels is an average pooling, whose windows lie across channels."""
    (x,), size = node.inputs, node.attrs["size"]
    before = (size - 1) // 2
    squares = op.Reshape(op.Mul(x, x), op.dimensions(0, 1, x.shape[1], -1))
    window = {"kernel_shape": [size, 1], "pads": [before, 0, size - 1 - before, 0], "count_include_pad": 1}
    mean = op.Reshape(op.AveragePool(squares, **window), op.dimensions(*x.shape))
    base = op.Add(op.Mul(mean, op.number(node.attrs.get("alpha", 1e-4), x)), op.number(node.attrs.get("bias", 1.0), x))
    return [op.Div(x, op.Pow(base, op.number(node.attrs.get("beta", 0.75), x)))]


EXPANSIONS = {
    "BatchNormalization": _batch,
    "InstanceNormalization": _instance,
    "LRN": _local_response,
    "LpNormalization": _lp,
}
