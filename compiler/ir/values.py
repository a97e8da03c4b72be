"""Values: the tensors of a graph with their types, what is known of their content, and the ONNX values they equal."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np

from intaglio.compiler.ir import dims
from intaglio.compiler.ir.dims import Dim, Symbol
from intaglio.compiler.ir.encoded import EncodedWeight
from intaglio.compiler.ir.errors import UnsupportedOperator
from intaglio.compiler.ir.packed import PackedMatrix

DTYPES = {
    "f32": np.float32,
    "f16": np.float16,
    "f64": np.float64,
    "bf16": ml_dtypes.bfloat16,
    "i64": np.int64,
    "i32": np.int32,
    "i16": np.int16,
    "i8": np.int8,
    "i4": ml_dtypes.int4,
    "u64": np.uint64,
    "u32": np.uint32,
    "u16": np.uint16,
    "u8": np.uint8,
    "u4": ml_dtypes.uint4,
    "bool": np.bool_,
}
FLOATS = frozenset({"f32", "f16", "f64", "bf16"})
_NAMES = {np.dtype(v): k for k, v in DTYPES.items()}


@dataclass(frozen=True)
class TensorType:
    """An element type (a key of DTYPES) and a shape; prints as f32[T,384]."""

    dtype: str
    shape: tuple[Dim, ...]

    @property
    def size(self) -> Dim:
        """The number of elements."""
        return dims.product(self.shape)

    @property
    def symbols(self) -> set[Symbol]:
        """The symbols that the shape depends on."""
        return {s for d in self.shape for s in dims.symbols(d)}

    def __str__(self) -> str:
        return f"{self.dtype}[{','.join(map(str, self.shape))}]"


Content = np.ndarray | PackedMatrix | EncodedWeight  # the content of a constant


def type_of(array: Content) -> TensorType:
    """Return the type of a constant. An array of dimensions (dtype object) counts as i64.

    Raises UnsupportedOperator for an element type that is not in DTYPES.
    """
    if array.dtype == object:
        return TensorType("i64", array.shape)
    if array.dtype not in _NAMES:
        raise UnsupportedOperator(f"tensors of type {array.dtype} are not supported")
    return TensorType(_NAMES[array.dtype], array.shape)


View = tuple[str, tuple[Dim, ...]]  # ("perm", axes), ("shape", dims), ("columns", (first, end)) or ("first", dims)


@dataclass(frozen=True)
class Origin:
    """A value of an ONNX model after the permutations, reshapes and slices of `views`, in order."""

    model: str
    name: str
    views: tuple[View, ...] = ()

    def seen(self, view: View) -> Origin:
        """Return the origin with one more view."""
        return Origin(self.model, self.name, (*self.views, view))


@dataclass(eq=False)
class Value:
    """A tensor. const: the content if it is known: a weight, a folded constant, or dimensions (dtype object).

    origin: the ONNX value that this one equals, if any. With a KV cache this value has only the newest rows.
    fraction: the numbers of a float tensor that follow from sizes; see semantics/size_fractions.py.
    """

    name: str
    type: TensorType
    const: Content | None = None
    origin: Origin | None = None
    fraction: np.ndarray | None = None

    @property
    def shape(self) -> tuple[Dim, ...]:
        return self.type.shape

    @property
    def fixed_shape(self) -> tuple[int, ...]:
        """The shape as ints. Raises NotLinear if it depends on a symbol."""
        return tuple(map(dims.fixed, self.shape))

    @property
    def dtype(self) -> str:
        return self.type.dtype

    @property
    def scalar(self) -> float | int | bool | None:
        """The number in a constant with one element, else None."""
        if not isinstance(self.const, np.ndarray) or self.const.size != 1 or self.const.dtype == object:
            return None
        return self.const.reshape(-1)[0].item()

    @property
    def array(self) -> np.ndarray:
        """The content of a constant that is neither packed nor quantized. Raises TypeError for other values."""
        if not isinstance(self.const, np.ndarray):
            raise TypeError(f"{self} is not a constant that holds an array")
        return self.const

    @property
    def numbers(self) -> np.ndarray | PackedMatrix:
        """The content of a constant as kernels read it. Raises TypeError for other values."""
        return self.const if isinstance(self.const, PackedMatrix) else self.array

    def __str__(self) -> str:
        return f"{self.name}: {self.type}"


def known(items: Iterable[Any], shape: tuple[int, ...]) -> np.ndarray:
    """Return an array of dimensions: i64 if all are numbers, dtype object if symbols remain."""
    items = list(items)
    if not any(isinstance(d, dims.Expr) for d in items):
        return np.array(items, np.int64).reshape(shape)
    array = np.empty(len(items), object)
    array[:] = items
    return array.reshape(shape)
