"""The types of a node's outputs, from those of its inputs.

Operators whose result depends on symbolic dimensions have a rule here. All others use ONNX's own inference, with each
symbolic dimension as an opaque name.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TypeProto, shape_inference

from intaglio.compiler.ir import dims
from intaglio.compiler.ir.dims import Dim
from intaglio.compiler.ir.errors import BadModel, UnsupportedOperator
from intaglio.compiler.ir.expression import ELEMENTWISE, PREDICATES
from intaglio.compiler.ir.nodes import OPSET, Node
from intaglio.compiler.ir.operators import Linear, Recurrent, Resample, Write
from intaglio.compiler.ir.values import DTYPES, TensorType, Value, type_of
from intaglio.compiler.semantics import operators
from intaglio.compiler.semantics.resize import line, resized
from intaglio.compiler.semantics.shapes import (
    DataDependent,
    axis_of,
    broadcast,
    content,
    integers,
    paddings,
    refuse_unequal,
    slices,
)
from intaglio.compiler.semantics.spectrum import framed, transformed
from intaglio.compiler.semantics.windows import assembled, convolved, pooled, unpooled

MAX_DIMS = 64  # integer tensors up to this size are tracked as possible shapes


def types(node: Node) -> list[TensorType]:
    """The types of a node's outputs. Raises DataDependent, NotLinear, and BadModel for inputs that do not match."""
    if node.own is not None:
        return _OURS[node.op](node.own)
    if node.op in ELEMENTWISE:
        return [_elementwise(node)]
    if node.op in _TYPES:
        return _TYPES[node.op](node)
    return _onnx(node)


def _elementwise(node: Node) -> TensorType:
    shape = broadcast(*(v.shape for v in node.inputs if v is not None))
    if node.op == "Cast":
        return TensorType(node.attrs["to"], shape)
    if node.op in PREDICATES:
        return TensorType("bool", shape)
    return TensorType(node.inputs[1 if node.op == "Where" else 0].dtype, shape)


def _sizes(value: Value) -> tuple[Dim, ...]:
    """A shape that a tensor holds."""
    shape = tuple(content(value, "the shape"))
    if any(dims.high(d) < 0 for d in shape):
        raise BadModel(f"the shape {list(shape)} has a negative size")
    return shape


def _reshape(node: Node) -> list[TensorType]:
    x, target = node.inputs[0], content(node.inputs[1], "the shape")
    copies = [d == 0 and not node.attrs.get("allowzero") for d in target]
    if any(copies[len(x.shape) :]) or target.count(-1) > 1 or any(dims.high(d) < -1 for d in target):
        raise BadModel(f"{x.type} cannot be reshaped to {target}")
    copied = [x.shape[i] if copy else d for i, (d, copy) in enumerate(zip(target, copies, strict=True))]
    left, right = map(dims.product, _cancelled(x.shape, [d for d in copied if d != -1]))
    if -1 not in copied:
        fits = left == right or (0 in x.shape and 0 in copied)
    elif fits := right != 0 and (isinstance(left, dims.Expr) or isinstance(right, dims.Expr) or left % right == 0):
        copied[copied.index(-1)] = left // right
    if not fits:
        what = f"{x.type} cannot be reshaped to {target}"
        for a, b in zip(x.shape, copied, strict=False):
            if len(copied) == len(x.shape) and a != b:
                refuse_unequal(what, a, b)
        refuse_unequal(what, left, right)
    return [TensorType(x.dtype, tuple(copied))]


def _cancelled(a: Sequence[Dim], b: Sequence[Dim]) -> tuple[tuple[Dim, ...], tuple[Dim, ...]]:
    """Both shapes without the dimensions that they share, so that their sizes compare also where symbols multiply."""
    left, right = list(a), list(b)
    for d in a:
        if d in right:
            left.remove(d)
            right.remove(d)
    return tuple(left), tuple(right)


def _expand(node: Node) -> list[TensorType]:
    x = node.inputs[0]
    return [TensorType(x.dtype, broadcast(x.shape, _sizes(node.inputs[1])))]


def _of_shape(node: Node) -> list[TensorType]:
    fill = node.attrs.get("value")
    dtype = type_of(fill).dtype if fill is not None else "f32"
    return [TensorType(dtype, _sizes(node.inputs[0]))]


def _concat(node: Node) -> list[TensorType]:
    shapes = [v.shape for v in node.inputs]
    axis = axis_of(node.attrs["axis"], len(shapes[0]))
    total: Dim = 0
    for s in shapes:
        what = f"cannot concatenate {', '.join(str(v.type) for v in node.inputs)} along axis {axis}"
        if len(s) != len(shapes[0]):
            raise BadModel(what)
        for i, (a, b) in enumerate(zip(s, shapes[0], strict=True)):
            if i != axis and a != b:
                refuse_unequal(what, a, b)
        total = total + s[axis]
    return [TensorType(node.inputs[0].dtype, (*shapes[0][:axis], total, *shapes[0][axis + 1 :]))]


def _slice(node: Node) -> list[TensorType]:
    return [TensorType(node.inputs[0].dtype, tuple(count for _, count, _ in slices(node)))]


def _split(node: Node) -> list[TensorType]:
    x = node.inputs[0]
    axis = axis_of(node.attrs.get("axis", 0), len(x.shape))
    size = x.shape[axis]
    if node.input(1):
        sizes = content(node.inputs[1], "the split")
    else:
        count = len(node.outputs)
        each = dims.ceil(size, count)
        sizes = [each] * (count - 1) + [size - each * (count - 1)]
        if isinstance(sizes[-1], dims.Expr) and dims.low(sizes[-1]) < 0:
            raise dims.TooSmall(f"{dims.plain(size)} may not be enough for {count} parts", sizes[-1], 0)
    if len(sizes) != len(node.outputs) or any(dims.high(s) < 0 for s in sizes) or sum(sizes) != size:
        raise BadModel(f"{size} cannot be split into {len(node.outputs)} parts of {sizes}")
    return [TensorType(x.dtype, (*x.shape[:axis], s, *x.shape[axis + 1 :])) for s in sizes]


def _range(node: Node) -> list[TensorType]:
    bounds: list[Any] = [
        (*content(v, "the bound"), None)[0] if v.dtype in ("i64", "i32") else v.scalar for v in node.inputs
    ]
    if any(b is None for b in bounds):
        raise DataDependent("the bounds of the range are computed at run time")
    start, limit, delta = bounds
    if isinstance(delta, dims.Expr):
        count = (limit - start) // delta
    elif isinstance(limit - start, dims.Expr) and delta:
        count = dims.ceil((limit - start) * (1 if delta > 0 else -1), abs(delta))
    elif delta == 0 or not math.isfinite((limit - start) / delta):
        raise BadModel(f"the range from {start} to {limit} in steps of {delta} is infinite")
    else:
        count = max(0, math.ceil((limit - start) / delta))
    if dims.low(count) < 0:
        raise dims.TooSmall(f"the range from {start} to {limit} may be empty", count, 0)
    return [TensorType(node.inputs[0].dtype, (count,))]


def _convolved(node: Node, weight: int) -> TensorType:
    """The type of a convolution of integers, whose weight is the input of that number."""
    (type,) = convolved(Node("Conv", (node.inputs[0], node.inputs[weight]), node.outputs, node.attrs, node.sources))
    return type


def _pad(node: Node) -> list[TensorType]:
    x = node.inputs[0]
    if node.attrs.get("mode") == "reflect":
        _need_enough(x.shape, paddings(node))
    shape = tuple(before + d + after for d, (before, after) in zip(x.shape, paddings(node), strict=True))
    if any(dims.high(d) < 0 for d in shape):
        raise BadModel(f"the padding {paddings(node)} removes more elements than {x.type} has")
    return [TensorType(x.dtype, shape)]


def _need_enough(shape: tuple[Dim, ...], pads: Sequence[tuple[Dim, Dim]]) -> None:
    """Raise TooSmall if a reflection may be longer than the elements of an axis."""
    for d, pair in zip(shape, pads, strict=True):
        for pad in pair:
            if isinstance(d, dims.Expr) and pad != 0 and dims.low(d - pad) < 1:
                raise dims.TooSmall(f"a reflection of {pad} elements may be longer than {dims.plain(d)}", d - pad, 1)


def _transpose(node: Node) -> list[TensorType]:
    x = node.inputs[0]
    perm = node.attrs.get("perm") or range(len(x.shape))[::-1]
    if sorted(perm) != list(range(len(x.shape))):
        raise BadModel(f"perm {list(perm)} is not a permutation of the axes of {x.type}")
    return [TensorType(x.dtype, tuple(x.shape[p] for p in perm))]


def _flatten(node: Node) -> list[TensorType]:
    x, axis = node.inputs[0], node.attrs.get("axis", 1)
    at = len(x.shape) if axis == len(x.shape) else axis_of(axis, len(x.shape))
    return [TensorType(x.dtype, (dims.product(x.shape[:at]), dims.product(x.shape[at:])))]


def _tile(node: Node) -> list[TensorType]:
    repeats = content(node.inputs[1], "the repeats")
    if len(repeats) != len(node.inputs[0].shape) or any(dims.high(r) < 0 for r in repeats):
        raise BadModel(f"{node.inputs[0].type} cannot be repeated {repeats} times")
    return [TensorType(node.inputs[0].dtype, tuple(d * r for d, r in zip(node.inputs[0].shape, repeats, strict=True)))]


def _unpool(node: Node) -> list[TensorType]:
    x = node.inputs[0]
    return [TensorType(x.dtype, _sizes(node.inputs[2]) if node.input(2) is not None else unpooled(node))]


def _gather_elements(node: Node) -> list[TensorType]:
    data, indices = node.inputs
    axis_of(node.attrs.get("axis", 0), len(data.shape))
    if len(indices.shape) != len(data.shape):
        raise BadModel(f"the shape of the indices {indices.type} does not match {data.type}")
    return [TensorType(data.dtype, indices.shape)]


def _gather_nd(node: Node) -> list[TensorType]:
    data, indices = node.inputs
    batch = node.attrs.get("batch_dims", 0)
    rows, inner = _tuples(data, indices, batch)
    return [TensorType(data.dtype, (*rows, *inner))]


def _scatter(node: Node) -> list[TensorType]:
    data, indices, updates = node.inputs
    if node.op == "ScatterND":
        shape = tuple(d for part in _tuples(data, indices, 0) for d in part)
    else:
        axis_of(node.attrs.get("axis", 0), len(data.shape))
        shape = indices.shape
    if updates.shape != shape or (node.op == "ScatterElements" and len(shape) != len(data.shape)):
        raise BadModel(f"the shapes of indices {indices.type} and updates {updates.type} do not match {data.type}")
    return [data.type]


def _tuples(data: Value, indices: Value, batch: int) -> tuple[tuple[Dim, ...], tuple[Dim, ...]]:
    """The shape of the tuples of indices, and of what each of them means."""
    count, rank = indices.shape[-1] if indices.shape else 0, len(data.shape)
    if not isinstance(count, int):
        raise DataDependent(f"the number of indices, {count}, is dynamic")
    if not 0 <= batch < len(indices.shape) or not 0 < count <= rank - batch:
        raise BadModel(f"the shape of the indices {indices.type} does not match {data.type}")
    if indices.shape[:batch] != data.shape[:batch]:
        raise BadModel(f"the batch of the indices {indices.type} differs from that of {data.type}")
    return indices.shape[:-1], data.shape[batch + count :]


def _top_k(node: Node) -> list[TensorType]:
    x, numbers = node.inputs[0], integers(node.inputs[1], "the number")
    axis, k = axis_of(node.attrs.get("axis", -1), len(x.shape)), numbers[0] if len(numbers) == 1 else -1
    size = x.shape[axis]
    if k < 0 or (isinstance(size, int) and size < k):
        raise BadModel(f"its k is {numbers}, expected a number from 0 to {size}")
    if dims.low(size) < k:
        raise dims.TooSmall(f"its k is {k}, which may be more than {dims.plain(size)}", size, k)
    shape = (*x.shape[:axis], k, *x.shape[axis + 1 :])
    return [TensorType(x.dtype, shape), TensorType("i64", shape)]


def _compress(node: Node) -> list[TensorType]:
    x, count = node.inputs[0], sum(map(bool, content(node.inputs[1], "the condition")))
    if (axis := node.attrs.get("axis")) is None:
        return [TensorType(x.dtype, (count,))]
    axis = axis_of(axis, len(x.shape))
    if dims.high(x.shape[axis]) < node.inputs[1].array.size:
        raise BadModel(f"the condition {node.inputs[1].type} is longer than axis {axis} of {x.type}")
    return [TensorType(x.dtype, (*x.shape[:axis], count, *x.shape[axis + 1 :]))]


def _resize(node: Node) -> list[TensorType]:
    axes = resized(node)
    for axis in axes:
        if not axis.is_fixed:
            line(axis, node)
    return [TensorType(node.inputs[0].dtype, tuple(axis.count for axis in axes))]


def _resample(of: Resample[Value]) -> list[TensorType]:
    shape = (*of.x.shape[: of.axis], of.places.shape[0], *of.x.shape[of.axis + 1 :])
    return [TensorType(of.x.dtype, shape)]


def _recurrent(layer: Recurrent[Value]) -> list[TensorType]:
    steps, batch, directions, _, hidden = layer.taken.shape
    return [TensorType("f32", (steps, directions, batch, hidden)), layer.initial.type]


def _linear(layer: Linear[Value]) -> list[TensorType]:
    rows, columns = layer.x.shape[:-1], layer.weight.shape[0]
    if window := layer.window:
        rows = (*rows[:-1], dims.floor(rows[-1] + 2 * window.pad - window.kernel, window.stride) + 1)
    return [TensorType("f32", (*rows, n)) for n in layer.splits or (columns // 2 if layer.gate else columns,)]


def _write(write: Write[Value]) -> list[TensorType]:
    state = write.state.shape
    return [TensorType(write.rows.dtype, (*state[:-2], write.at + write.rows.shape[-2], state[-1]))]


def _matmul(node: Node) -> list[TensorType]:
    a, b = (v.shape for v in node.inputs)
    left, right = (1, *a) if len(a) == 1 else a, (*b, 1) if len(b) == 1 else b
    what = f"{node.inputs[0].type} and {node.inputs[1].type} cannot be multiplied"
    if not a or not b:
        raise BadModel(what)
    if left[-1] != right[-2]:
        refuse_unequal(what, left[-1], right[-2])
    rows, columns = left[-2:-1] if len(a) > 1 else (), right[-1:] if len(b) > 1 else ()
    batch = broadcast(left[:-2], right[:-2]) if len(left) > 2 or len(right) > 2 else ()
    return [TensorType(node.inputs[0].dtype, (*batch, *rows, *columns))]


def _gemm(node: Node) -> list[TensorType]:
    a, b = (
        v.shape[::-1] if node.attrs.get(name) else v.shape
        for v, name in zip(node.inputs, ("transA", "transB"), strict=False)
    )
    what = f"{node.inputs[0].type} and {node.inputs[1].type} cannot be multiplied"
    if len(a) != 2 or len(b) != 2:
        raise BadModel(what)
    if a[1] != b[0]:
        refuse_unequal(what, a[1], b[0])
    shape = (a[0], b[1])
    if node.input(2) is not None and broadcast(node.inputs[2].shape, shape) != shape:
        raise BadModel(f"{node.inputs[2].type} does not broadcast to {list(shape)}")
    return [TensorType(node.inputs[0].dtype, shape)]


_TYPES: dict[str, Callable[[Node], list[TensorType]]] = {
    "Reshape": _reshape,
    "Expand": _expand,
    "Flatten": _flatten,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "ConstantOfShape": _of_shape,
    "Concat": _concat,
    "Slice": _slice,
    "Split": _split,
    "Range": _range,
    "Pad": _pad,
    "Tile": _tile,
    "Transpose": _transpose,
    **dict.fromkeys(("Conv", "ConvTranspose", "DeformConv"), convolved),
    **dict.fromkeys(("AveragePool", "LpPool", "MaxPool"), pooled),
    "Col2Im": assembled,
    "ConvInteger": lambda node: [TensorType("i32", _convolved(node, 1).shape)],
    "QLinearConv": lambda node: [TensorType(node.inputs[7].dtype, _convolved(node, 3).shape)],
    "GatherElements": _gather_elements,
    "GatherND": _gather_nd,
    **dict.fromkeys(("ScatterElements", "ScatterND"), _scatter),
    "TopK": _top_k,
    "Compress": _compress,
    "MaxUnpool": _unpool,
    "Resize": _resize,
    "DFT": transformed,
    "STFT": framed,
    "RMSNormalization": lambda node: [node.inputs[0].type],
}


_OURS: dict[str, Callable[[Any], list[TensorType]]] = {
    "Attention": lambda node: [node.q.type],
    "FakeQuantize": lambda node: [node.x.type],
    "Linear": _linear,
    "Recurrent": _recurrent,
    "Resample": _resample,
    "Rotary": lambda node: [x.type for x in node.rows],
    "Write": _write,
}


def _onnx(node: Node) -> list[TensorType]:
    """ONNX's own inference for one node, with symbolic dimensions as names."""
    names: dict[str, Dim] = {}
    types, data = {}, {}
    for i, value in enumerate(node.inputs):
        if value is None:
            continue
        names.update({str(d): d for d in value.shape if isinstance(d, dims.Expr)})
        types[f"i{i}"] = proto_type(value.type)
        if value.const is not None and value.const.dtype != object and value.const.size <= MAX_DIMS:
            data[f"i{i}"] = onnx.numpy_helper.from_array(np.asarray(value.const))
    try:
        schema = onnx.defs.get_schema(node.op, OPSET, "")
        protos = shape_inference.infer_node_outputs(
            schema, operators.proto(node), types, data, opset_imports=[onnx.helper.make_opsetid("", OPSET)]
        )
    except onnx.defs.SchemaError as e:
        raise UnsupportedOperator("") from e
    except (onnx.shape_inference.InferenceError, RuntimeError) as e:
        raise BadModel(str(e).strip().splitlines()[-1]) from e
    return [_type(protos.get(f"o{i}"), names) for i in range(len(node.outputs))]


def proto_type(type: TensorType) -> TypeProto:
    element = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(DTYPES[type.dtype]))
    shape = [str(d) if isinstance(d, dims.Expr) else d for d in type.shape]
    return onnx.helper.make_tensor_type_proto(element, shape)


def _type(proto: TypeProto | None, names: dict[str, Dim]) -> TensorType:
    if proto is None or not proto.tensor_type.HasField("shape"):
        raise DataDependent("ONNX infers no shape")
    shape: list[Dim] = []
    for d in proto.tensor_type.shape.dim:
        if d.HasField("dim_value"):
            shape.append(d.dim_value)
        elif d.dim_param in names:
            shape.append(names[d.dim_param])
        else:
            raise DataDependent("ONNX leaves a dimension open")
    return TensorType(element(proto.tensor_type.elem_type), tuple(shape))


def element(code: int) -> str:
    """The IR's name for an element type of ONNX. Raises BadModel for one that it lacks."""
    try:
        dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(code))
    except (KeyError, TypeError) as e:
        raise BadModel(f"{code} is not an element type of ONNX") from e
    if dtype.kind == "O":
        raise UnsupportedOperator("tensors of strings are not supported")
    return type_of(np.empty(0, dtype)).dtype
