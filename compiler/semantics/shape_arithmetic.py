"""Shape arithmetic: operators on dimensions, which are numbers or linear expressions over symbols."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from intaglio.compiler.ir import dims
from intaglio.compiler.ir.dims import Dim
from intaglio.compiler.ir.nodes import Node
from intaglio.compiler.semantics.shapes import DataDependent
from intaglio.compiler.semantics.types import types


def _decided(compare: Callable[[Dim, Dim], bool | None]) -> Callable[[Node, list[np.ndarray]], np.ndarray]:
    def one(a: Dim, b: Dim) -> bool:
        answer = compare(a, b)
        if answer is None:
            raise DataDependent(f"{a} is compared with {b}")
        return answer

    return lambda node, x: np.asarray(np.frompyfunc(one, 2, 1)(x[0], x[1]))


def _not(answer: bool | None) -> bool | None:
    return None if answer is None else not answer


def _pick(smaller: bool) -> Callable[[Node, list[np.ndarray]], np.ndarray]:
    def one(a: Dim, b: Dim) -> Dim:
        if dims.low(b - a) < 0 < dims.high(b - a):
            raise DataDependent(f"the minimum or maximum of {a} and {b}")
        return a if (dims.high(a - b) <= 0) == smaller else b

    return lambda node, x: functools.reduce(np.frompyfunc(one, 2, 1), x)


def _numbers(x: np.ndarray) -> np.ndarray:
    """An array of positions, axes or sizes; raises DataDependent where they are symbolic."""
    if x.dtype == object:
        raise DataDependent("an index depends on a dynamic size")
    return x.astype(np.int64)


def _axes(x: np.ndarray) -> tuple[int, ...]:
    return tuple(_numbers(x).reshape(-1).tolist())


def _cast_dims(node: Node, x: list[np.ndarray]) -> np.ndarray:
    if node.attrs["to"] not in ("i64", "i32"):
        raise DataDependent(f"a dynamic size is cast to {node.attrs['to']}")
    return x[0]


def _slice_dims(node: Node, x: list[np.ndarray]) -> np.ndarray:
    if x[0].ndim != 1:
        raise DataDependent("a matrix of dynamic sizes is sliced")
    step = int(_numbers(x[4])[0]) if len(x) > 4 and x[4] is not None else 1
    return x[0][int(_numbers(x[1])[0]) : int(_numbers(x[2])[0]) : step]


def _divide(node: Node, x: list[np.ndarray]) -> np.ndarray:
    def one(a: Dim, b: Dim) -> Dim:
        if isinstance(b, dims.Expr) or b == 0:
            return a // b
        if b < 0:
            a, b = -a, -b
        if dims.low(a) < 0 < dims.high(a):
            raise DataDependent(f"the quotient {a} / {b} may be negative")
        return dims.floor(a, b) if dims.low(a) >= 0 else -dims.floor(-a, b)  # integers divide towards zero

    return np.asarray(np.frompyfunc(one, 2, 1)(x[0], x[1]))


def _modulo(node: Node, x: list[np.ndarray]) -> np.ndarray:
    def one(a: Dim, b: Dim) -> Dim:
        if isinstance(b, dims.Expr) or b <= 0 or (node.attrs.get("fmod") and dims.low(a) < 0):
            raise DataDependent(f"the rest of {a} / {b}")
        return a - dims.floor(a, b) * b

    return np.asarray(np.frompyfunc(one, 2, 1)(x[0], x[1]))


def _product(node: Node, x: list[np.ndarray]) -> np.ndarray:
    if x[0].ndim != 1 or (len(x) == 1 and node.attrs.get("noop_with_empty_axes")):
        raise DataDependent("a matrix of dynamic sizes is reduced")
    return np.full((1,) if node.attrs.get("keepdims", 1) else (), dims.product(tuple(x[0])), object)


# Of an input that is absent an array is None.
ON_DIMS: dict[str, Callable[[Node, list[Any]], np.ndarray]] = {
    "Identity": lambda node, x: x[0],
    "Cast": _cast_dims,
    "Gather": lambda node, x: np.take(x[0], _numbers(x[1]), axis=node.attrs.get("axis", 0)),
    "Concat": lambda node, x: np.concatenate([np.asarray(v, object) for v in x], axis=node.attrs["axis"]),
    "Slice": _slice_dims,
    "Squeeze": lambda node, x: np.squeeze(x[0], _axes(x[1]) if len(x) > 1 and x[1] is not None else None),
    "Unsqueeze": lambda node, x: np.expand_dims(x[0], _axes(x[1])),
    "Reshape": lambda node, x: x[0].reshape([dims.fixed(d) for d in types(node)[0].shape]),
    "Add": lambda node, x: np.add(x[0].astype(object), x[1]),
    "Sub": lambda node, x: np.subtract(x[0].astype(object), x[1]),
    "Mul": lambda node, x: np.multiply(x[0].astype(object), x[1]),
    "Div": _divide,
    "Mod": _modulo,
    "Neg": lambda node, x: -x[0],
    "Max": _pick(smaller=False),
    "Min": _pick(smaller=True),
    "ReduceProd": _product,
    "Equal": _decided(dims.same),
    "Less": _decided(dims.less),
    "Greater": _decided(lambda a, b: dims.less(b, a)),
    "LessOrEqual": _decided(lambda a, b: _not(dims.less(b, a))),
    "GreaterOrEqual": _decided(lambda a, b: _not(dims.less(a, b))),
    "Where": lambda node, x: np.where(x[0], x[1].astype(object), x[2].astype(object)),
}
