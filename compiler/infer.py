"""Types of a node's outputs, and their content where it follows from shapes: exporters compute with shapes all the time.

Operators whose result depends on symbolic dimensions have a rule here; for the rest ONNX's own inference is asked,
with each symbolic dimension passed through as an opaque name.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import onnx
from onnx import TypeProto, shape_inference

from intaglio.compiler import dims, evaluate
from intaglio.compiler.dims import Dim, NotLinear
from intaglio.compiler.elementwise import ELEMENTWISE, PREDICATES
from intaglio.compiler.ir import DTYPES, BadModel, Node, TensorType, UnsupportedOperator, Value, known, type_of

_MAX_DIMS = 64  # integer tensors up to this size are tracked as possible shapes
_MAX_FOLD = 1 << 20  # operators that only repeat data are not folded into constants of more elements than this
_REPEATS = frozenset({"Expand", "Tile", "ConstantOfShape"})


def infer(node: Node) -> None:
    """Set the type, and the content where it is known, of every output of `node`.

    Raises BadModel for shapes that do not fit together and UnsupportedOperator where no type can be given.
    """
    where = f"{node.op} ({', '.join(node.sources) or node.output.name})"
    try:
        if not _known(node):
            for value, type in zip(node.outputs, _types(node), strict=False):
                value.type = type
    except (NotLinear, DataDependent) as e:
        raise UnsupportedOperator(f"{where}: the shape of the result is not known at compile time: {e}") from e
    except BadModel as e:
        raise type_error(e, where) from e


class DataDependent(Exception):
    """A shape depends on the content of a tensor that is not known at compile time."""


def type_error(e: BadModel, where: str) -> BadModel:
    return type(e)(f"{where}: {e}")


def _known(node: Node) -> bool:
    """Compute the outputs if all inputs are known; whether that was possible."""
    present = [v for v in node.inputs if v is not None]
    if node.op == "Shape":
        start, end = node.attrs.get("start", 0), node.attrs.get("end")
        _fill(node, known(node.inputs[0].shape[start:end], (len(node.inputs[0].shape[start:end]),)))
        return True
    if node.op == "Size":
        _fill(node, known([node.inputs[0].type.size], ()))
        return True
    if any(v.const is None for v in present):
        return False
    if any(v.const.dtype == object for v in present):
        return _symbolic(node)
    if node.op in _REPEATS and _types(node)[0].size > _MAX_FOLD:
        return False
    try:
        results = evaluate.evaluate(node, [v.const if v is not None else None for v in node.inputs])
    except Exception as e:
        raise BadModel(f"cannot be evaluated on its constants: {e}") from e
    for value, array in zip(node.outputs, results, strict=False):
        value.const = np.asarray(array)
        value.type = type_of(value.const)
    return True


def _fill(node: Node, array: np.ndarray) -> None:
    node.output.const, node.output.type = array, type_of(array)


def _symbolic(node: Node) -> bool:
    rule = _ON_DIMS.get(node.op)
    if rule is None or any(v is not None and v.const.size > _MAX_DIMS for v in node.inputs):
        return False
    try:
        array = rule(node, [v.const if v is not None else None for v in node.inputs])
    except (NotLinear, DataDependent):
        return False
    array = np.asarray(array)
    if array.dtype == object and all(not isinstance(d, dims.Expr) for d in array.reshape(-1)):
        array = array.astype(np.bool_ if all(isinstance(d, bool) for d in array.reshape(-1)) else np.int64)
    _fill(node, array)
    return True


def _decided(compare: Callable[[Dim, Dim], bool | None]) -> Callable[[Node, list[np.ndarray]], np.ndarray]:
    def one(a: Dim, b: Dim) -> bool:
        answer = compare(a, b)
        if answer is None:
            raise DataDependent(f"{a} against {b}")
        return answer

    return lambda node, x: np.frompyfunc(one, 2, 1)(x[0], x[1])


def _not(answer: bool | None) -> bool | None:
    return None if answer is None else not answer


def _pick(smaller: bool) -> Callable[[Node, list[np.ndarray]], np.ndarray]:
    def one(a: Dim, b: Dim) -> Dim:
        answer = dims.less(a, b)
        if answer is None and dims.low(b - a) < 0 and dims.high(b - a) > 0:
            raise DataDependent(f"min or max of {a} and {b}")
        return a if (dims.high(a - b) <= 0) == smaller else b

    return lambda node, x: np.frompyfunc(one, 2, 1)(x[0], x[1])


def _axes(node: Node, x: list[np.ndarray]) -> tuple[int, ...] | None:
    return tuple(int(a) for a in x[1]) if len(x) > 1 and x[1] is not None else None


def _cast_dims(node: Node, x: list[np.ndarray]) -> np.ndarray:
    if node.attrs["to"] not in ("i64", "i32"):
        raise DataDependent(f"a dimension as {node.attrs['to']}")
    return x[0]


def _slice_dims(node: Node, x: list[np.ndarray]) -> np.ndarray:
    if any(v is not None and v.dtype == object for v in x[1:]) or x[0].ndim != 1:
        raise DataDependent("a slice of dimensions at a symbolic position")
    step = int(x[4][0]) if len(x) > 4 else 1
    return x[0][int(x[1][0]) : int(x[2][0]) : step]


def _divide(node: Node, x: list[np.ndarray]) -> np.ndarray:
    return np.frompyfunc(lambda a, b: a // b, 2, 1)(x[0], x[1])


_ON_DIMS: dict[str, Callable[[Node, list[np.ndarray]], np.ndarray]] = {
    "Identity": lambda node, x: x[0],
    "Cast": _cast_dims,
    "Gather": lambda node, x: np.take(x[0], x[1].astype(np.int64), axis=node.attrs.get("axis", 0)),
    "Concat": lambda node, x: np.concatenate([np.asarray(v, object) for v in x], axis=node.attrs["axis"]),
    "Slice": _slice_dims,
    "Squeeze": lambda node, x: np.squeeze(x[0], _axes(node, x)),
    "Unsqueeze": lambda node, x: np.expand_dims(x[0], _axes(node, x)),
    "Reshape": lambda node, x: x[0].reshape([int(d) for d in x[1]]),
    "Add": lambda node, x: np.add(x[0].astype(object), x[1]),
    "Sub": lambda node, x: np.subtract(x[0].astype(object), x[1]),
    "Mul": lambda node, x: np.multiply(x[0].astype(object), x[1]),
    "Div": _divide,
    "Neg": lambda node, x: -x[0],
    "Max": _pick(smaller=False),
    "Min": _pick(smaller=True),
    "ReduceProd": lambda node, x: np.full((1,) if node.attrs.get("keepdims", 1) else (), dims.product(tuple(x[0])), object),
    "Equal": _decided(dims.same),
    "Less": _decided(dims.less),
    "Greater": _decided(lambda a, b: dims.less(b, a)),
    "LessOrEqual": _decided(lambda a, b: _not(dims.less(b, a))),
    "GreaterOrEqual": _decided(lambda a, b: _not(dims.less(a, b))),
    "Where": lambda node, x: np.where(x[0], x[1].astype(object), x[2].astype(object)),
}


# types


def _types(node: Node) -> list[TensorType]:
    if node.op in ELEMENTWISE:
        return [_elementwise(node)]
    if node.op in _TYPES:
        return _TYPES[node.op](node)
    return _onnx(node)


def broadcast(*shapes: tuple[Dim, ...]) -> tuple[Dim, ...]:
    """The shape that `shapes` broadcast to; raises BadModel if they do not."""
    result: list[Dim] = []
    for i in range(-max(map(len, shapes)), 0):
        sizes = {s[i] for s in shapes if len(s) >= -i} - {1}
        if len(sizes) > 1:
            raise BadModel(f"the shapes {', '.join(str(list(s)) for s in shapes)} do not fit together")
        result.append(sizes.pop() if sizes else 1)
    return tuple(result)


def _elementwise(node: Node) -> TensorType:
    shape = broadcast(*(v.shape for v in node.inputs if v is not None))
    if node.op == "Cast":
        return TensorType(node.attrs["to"], shape)
    if node.op in PREDICATES:
        return TensorType("bool", shape)
    return TensorType(node.inputs[1 if node.op == "Where" else 0].dtype, shape)


def content(value: Value, what: str) -> list[Dim]:
    """The numbers or dimensions in a small integer tensor; raises DataDependent if they are not known."""
    if value.const is None:
        raise DataDependent(f"{what} {value.name} is computed at run time")
    return [d if isinstance(d, dims.Expr) else int(d) for d in value.const.reshape(-1)]


def _reshape(node: Node) -> list[TensorType]:
    x, target = node.inputs[0], content(node.inputs[1], "the shape")
    copied = [x.shape[i] if d == 0 and not node.attrs.get("allowzero") else d for i, d in enumerate(target)]
    rest = [d for d in copied if d != -1]
    left, right = _cancelled(x.shape, rest)
    if -1 in copied:
        copied[copied.index(-1)] = dims.product(left) // dims.product(right)
    elif dims.product(left) != dims.product(right):
        raise BadModel(f"{x.type} has no shape {copied}")
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
    return [TensorType(x.dtype, broadcast(x.shape, tuple(content(node.inputs[1], "the shape"))))]


def _of_shape(node: Node) -> list[TensorType]:
    fill = node.attrs.get("value")
    dtype = type_of(fill).dtype if fill is not None else "f32"
    return [TensorType(dtype, tuple(content(node.inputs[0], "the shape")))]


def _concat(node: Node) -> list[TensorType]:
    shapes = [v.shape for v in node.inputs]
    axis = node.attrs["axis"] % len(shapes[0])
    total: Dim = 0
    for s in shapes:
        if len(s) != len(shapes[0]) or any(a != b for i, (a, b) in enumerate(zip(s, shapes[0], strict=True)) if i != axis):
            raise BadModel(f"cannot concatenate {', '.join(str(v.type) for v in node.inputs)} along axis {axis}")
        total = total + s[axis]
    return [TensorType(node.inputs[0].dtype, (*shapes[0][:axis], total, *shapes[0][axis + 1 :]))]


def slices(node: Node) -> list[tuple[Dim, Dim, int]]:
    """For each axis of a Slice's input: first index, number of elements, step."""
    x = node.inputs[0]
    starts, ends = content(node.inputs[1], "the start"), content(node.inputs[2], "the end")
    axes = content(node.inputs[3], "the axes") if node.input(3) else list(range(len(starts)))
    steps = content(node.inputs[4], "the step") if node.input(4) else [1] * len(starts)
    result: list[tuple[Dim, Dim, int]] = [(0, d, 1) for d in x.shape]
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        size = x.shape[axis]
        if step > 0:
            first, last = _clamped(start, size, 0, size), _clamped(end, size, 0, size)
            count = last - first if step == 1 else -((first - last) // step)
        elif isinstance(size, int) and isinstance(start, int) and isinstance(end, int):
            first, last, _ = slice(start, end, step).indices(size)
            count = max(0, math.ceil((last - first) / step))
        else:
            raise NotLinear(f"a backward slice of {size}")
        if dims.low(count) < 0:
            if dims.high(count) > 0:
                raise DataDependent(f"the slice {start}:{end} of {size}")
            count = 0
        result[axis] = (first, count, step)
    return result


def _clamped(index: Dim, size: Dim, least: Dim, most: Dim) -> Dim:
    if dims.high(index) < 0:
        index = index + size
    elif dims.low(index) < 0:
        raise DataDependent(f"index {index} may count from either end")
    if dims.low(index - most) >= 0:
        return most
    if dims.high(index - least) <= 0:
        return least
    return index  # indices that may leave the range depending on symbols are taken as written


def _slice(node: Node) -> list[TensorType]:
    return [TensorType(node.inputs[0].dtype, tuple(count for _, count, _ in slices(node)))]


def _split(node: Node) -> list[TensorType]:
    x, axis = node.inputs[0], node.attrs.get("axis", 0)
    if node.input(1):
        sizes = content(node.inputs[1], "the split")
    else:
        count = node.attrs.get("num_outputs", len(node.outputs))
        each = -(-x.shape[axis] // count) if isinstance(x.shape[axis], int) else x.shape[axis] // count
        sizes = [each] * (count - 1) + [x.shape[axis] - each * (count - 1)]
    axis %= len(x.shape)
    return [TensorType(x.dtype, (*x.shape[:axis], s, *x.shape[axis + 1 :])) for s in sizes]


def _range(node: Node) -> list[TensorType]:
    start, limit, delta = (content(v, "the bound")[0] if v.dtype in ("i64", "i32") else v.scalar for v in node.inputs)
    if start is None or limit is None or delta is None:
        raise DataDependent("the bounds of the range are computed at run time")
    if isinstance(limit - start, dims.Expr):
        return [TensorType(node.inputs[0].dtype, ((limit - start) // delta,))]
    return [TensorType(node.inputs[0].dtype, (max(0, math.ceil((limit - start) / delta)),))]


def _pad(node: Node) -> list[TensorType]:
    x, pads = node.inputs[0], content(node.inputs[1], "the padding")
    axes = content(node.inputs[3], "the axes") if node.input(3) else list(range(len(x.shape)))
    shape = list(x.shape)
    for i, axis in enumerate(axes):
        shape[axis] = shape[axis] + pads[i] + pads[i + len(axes)]
    return [TensorType(x.dtype, tuple(shape))]


def _tile(node: Node) -> list[TensorType]:
    repeats = content(node.inputs[1], "the repeats")
    return [TensorType(node.inputs[0].dtype, tuple(d * r for d, r in zip(node.inputs[0].shape, repeats, strict=True)))]


def _linear(node: Node) -> list[TensorType]:
    x, weight = node.inputs[:2]
    rows = x.shape[:-1]
    if window := node.attrs.get("window"):
        kernel, stride, pad = window
        rows = (*rows[:-1], (rows[-1] + 2 * pad - kernel) // stride + 1)
    return [TensorType("f32", (*rows, n)) for n in node.attrs.get("splits", weight.shape[:1])]


def _write(node: Node) -> list[TensorType]:
    new, state = node.inputs
    return [TensorType(new.dtype, (*state.shape[:-2], node.attrs["at"] + new.shape[-2], state.shape[-1]))]


_TYPES: dict[str, Callable[[Node], list[TensorType]]] = {
    "Reshape": _reshape,
    "Expand": _expand,
    "ConstantOfShape": _of_shape,
    "Concat": _concat,
    "Slice": _slice,
    "Split": _split,
    "Range": _range,
    "Pad": _pad,
    "Tile": _tile,
    "Linear": _linear,
    "Write": _write,
    "Attention": lambda node: [node.inputs[0].type],
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
        if value.const is not None and value.const.dtype != object and value.const.size <= _MAX_DIMS:
            data[f"i{i}"] = onnx.numpy_helper.from_array(np.asarray(value.const))
    try:
        schema = onnx.defs.get_schema(node.op, evaluate.OPSET, "")
        found = shape_inference.infer_node_outputs(
            schema, evaluate.proto(node), types, data, opset_imports=[onnx.helper.make_opsetid("", evaluate.OPSET)]
        )
    except onnx.defs.SchemaError as e:
        raise UnsupportedOperator("is no operator of ONNX") from e
    except (onnx.shape_inference.InferenceError, RuntimeError) as e:
        raise BadModel(str(e).strip().splitlines()[-1]) from e
    return [_type(found.get(f"o{i}"), names) for i in range(len(node.outputs))]


def proto_type(type: TensorType) -> TypeProto:
    element = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(DTYPES[type.dtype]))
    shape = [str(d) if isinstance(d, dims.Expr) else d for d in type.shape]
    return onnx.helper.make_tensor_type_proto(element, shape)


def _type(proto: TypeProto | None, names: dict[str, Dim]) -> TensorType:
    if proto is None or not proto.tensor_type.HasField("shape"):
        raise DataDependent("ONNX gives it no shape")
    shape: list[Dim] = []
    for d in proto.tensor_type.shape.dim:
        if d.HasField("dim_value"):
            shape.append(d.dim_value)
        elif d.dim_param in names:
            shape.append(names[d.dim_param])
        else:
            raise DataDependent("a dimension is not known")
    dtype = type_of(np.empty(0, onnx.helper.tensor_dtype_to_np_dtype(proto.tensor_type.elem_type))).dtype
    return TensorType(dtype, tuple(shape))
