"""The types of a node's outputs, and their content if it follows from constants and shapes.

Exporters compute with shapes all the time, so most of that arithmetic ends here.
"""

from __future__ import annotations

import math

import numpy as np

from intaglio.compiler.ir import dims
from intaglio.compiler.ir.dims import NotLinear
from intaglio.compiler.ir.encoded import SMALL, EncodedWeight, dequantize, encode
from intaglio.compiler.ir.errors import UNDECIDED, BadModel, UnsupportedOperator
from intaglio.compiler.ir.expression import PREDICATES
from intaglio.compiler.ir.nodes import Node
from intaglio.compiler.ir.values import DTYPES, FLOATS, TensorType, known, type_of
from intaglio.compiler.semantics import evaluate, operators
from intaglio.compiler.semantics.shape_arithmetic import ON_DIMS
from intaglio.compiler.semantics.shapes import DataDependent
from intaglio.compiler.semantics.size_fractions import fractions, moved, whole
from intaglio.compiler.semantics.types import MAX_DIMS, types

_MAX_FOLD = 1 << 20  # constants of more elements are not folded where they are larger than what they are made of
_MOST = 1 << 31
_CODES = ("i8", "u8", "i4", "u4")  # the types of quantized weights
_RANDOM = frozenset(
    {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Bernoulli", "Multinomial"}
)


def infer(node: Node) -> None:
    """Set the type, and the content if it is known, of every output of `node`.

    Raises BadModel for shapes that do not match, and UnsupportedOperator if the type depends on data.
    """
    try:
        if not _known(node):
            for value, type in zip(node.outputs, types(node), strict=False):
                value.type = type
                _check_size(type)
            if node.output.dtype in FLOATS:
                node.output.fraction = fractions(node) if moved(node) is None else moved(node)
    except (NotLinear, DataDependent) as e:
        raise UnsupportedOperator(UNDECIDED.format(e), node.op, node.name) from e
    except UnsupportedOperator as e:
        raise UnsupportedOperator(e.why, e.op or node.op, e.node or node.name) from e
    except BadModel as e:
        raise BadModel(f"{node.op} ({node.name}): {e}") from e


def _check_size(type: TensorType) -> None:
    """Refuse a tensor that no adapter can address, before it is allocated here."""
    if math.prod(map(dims.low, type.shape)) > _MOST:
        raise UnsupportedOperator(f"its output {type} has more than {_MOST} elements, which is not supported")


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
    if _absorbed(node):
        return True
    if (sizes := whole(node)) is not None:
        _fill(node, known(sizes.reshape(-1), sizes.shape), node.attrs["to"])
        return True
    contents = [v.const for v in present if v.const is not None]
    if len(contents) < len(present) or node.op in _RANDOM:
        return False
    if any(content.dtype == object for content in contents):
        return _symbolic(node)
    if _grows(node, sum(content.size for content in contents)):
        return False
    if _waits(node):
        return False
    if (weight := _quantized(node)) is not None:
        node.output.const, node.output.type = weight, TensorType("f32", weight.shape)
        return True
    results = operators.evaluate(node, [evaluate.concrete(v, {}) if v is not None else None for v in node.inputs])
    for value, array in zip(node.outputs, results, strict=False):
        value.const = np.asarray(array)
        value.type = type_of(value.const)
    return True


def _absorbed(node: Node) -> bool:
    """Compute an And with a false operand, or an Or with a true one, whatever the other operand is."""
    absorbing = {"And": False, "Or": True}.get(node.op)
    if absorbing is None or not any(v.scalar is absorbing for v in node.inputs):
        return False
    shape = types(node)[0].shape
    if any(isinstance(d, dims.Expr) for d in shape) or math.prod(map(dims.fixed, shape)) > MAX_DIMS:
        return False
    _fill(node, np.full(tuple(map(dims.fixed, shape)), absorbing), "bool")
    return True


def _grows(node: Node, read: int) -> bool:
    """Whether the outputs would be large constants, larger than the `read` numbers that they are made of."""
    try:
        sizes = [dims.high(type.size) for type in types(node)]
    except DataDependent:
        return False
    return max(sizes, default=0) > max(_MAX_FOLD, 2 * read)


def _waits(node: Node) -> bool:
    """Whether a weight is dequantized to f16, which is computed in f32: see passes/widen.py."""
    x = node.inputs[0]
    if node.op == "Cast":
        narrow = x.dtype in _CODES and node.attrs["to"] in ("f16", "bf16")
    else:
        narrow = node.op == "DequantizeLinear" and node.inputs[1].dtype in ("f16", "bf16")
    return narrow and dims.low(x.type.size) >= SMALL


def _quantized(node: Node) -> EncodedWeight | None:
    """The result as a weight in few bits, if it is large and can be left so."""
    x = node.inputs[0]
    weight = next((v.const for v in node.inputs if v and isinstance(v.const, EncodedWeight)), None)
    if weight is not None and weight.size >= SMALL:
        return _still_encoded(node, weight)
    if x.const is None or len(x.shape) < 2 or x.const.size < SMALL:
        return None
    if node.op == "Cast" and node.attrs["to"] == "f32":
        return EncodedWeight(x.array) if x.dtype in ("f16", "bf16") else encode(x.array) if x.dtype in _CODES else None
    if node.op == "DequantizeLinear" and x.dtype in _CODES and node.inputs[1].dtype == "f32":
        zero = evaluate.concrete(node.inputs[2], {}) if node.input(2) is not None else None
        return dequantize(x.array, evaluate.concrete(node.inputs[1], {}), zero, node.attrs)
    return None


def _still_encoded(node: Node, weight: EncodedWeight) -> EncodedWeight | None:
    """The result of an operator on a weight in few bits, if it can be left so: a view, a zero point or a scale."""
    x, *others = node.inputs
    if node.op == "Transpose":
        return weight.transpose(*node.attrs.get("perm", range(len(weight.shape))[::-1]))
    if node.op == "Reshape":
        return weight.reshaped(tuple(map(dims.fixed, types(node)[0].shape)))
    if node.op == "Mul" and x.const is not weight:
        x, others = node.inputs[1], [x]
    if node.op not in ("Mul", "Div", "Sub") or x.const is not weight or isinstance(others[0].const, EncodedWeight):
        return None
    number = evaluate.concrete(others[0], {})
    if node.op == "Sub":
        return weight.shifted(number)
    return weight.scaled(number if node.op == "Mul" else 1 / number)


def _fill(node: Node, array: np.ndarray, dtype: str = "i64") -> None:
    node.output.const, node.output.type = array, TensorType(dtype, array.shape)


def _symbolic(node: Node) -> bool:
    rule = ON_DIMS.get(node.op)
    arrays = [v.const if v is not None else None for v in node.inputs]
    if rule is None or any(a is not None and a.size > MAX_DIMS for a in arrays):
        return False
    try:
        array = rule(node, arrays)
    except (NotLinear, DataDependent):
        return False
    except (ArithmeticError, IndexError, TypeError, ValueError) as e:
        raise BadModel(f"it cannot be evaluated on these dimensions: {e}") from e
    array = np.asarray(array)
    dtype = "bool" if node.op in PREDICATES else node.attrs.get("to", node.inputs[1 if node.op == "Where" else 0].dtype)
    if array.dtype != object or all(not isinstance(d, dims.Expr) for d in array.reshape(-1)):
        array = array.astype(DTYPES[dtype])
    _fill(node, array, dtype)
    return True
