"""Binding: the sizes and inputs that a user gives where the model leaves them free.

The name of a size is its name in the file, or its input and axis (x.1). A shape gives all sizes of an input.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto

from intaglio.compiler.ir.errors import BadModel, listed
from intaglio.compiler.ir.values import DTYPES
from intaglio.compiler.reader import load

MAX_SIZE = 1 << 31


def bound(model: ModelProto, bind: Mapping[str, Any]) -> dict[str, Any]:
    """Return `bind` as load.load takes it: arrays with the types of their inputs, and sizes by label.

    Raises BadModel for names that the model lacks, and for sizes that contradict the model or each other.
    """
    inputs = {i.name: i for i in load.free_inputs(model)}
    result: dict[str, Any] = {}
    for name, value in bind.items():
        if name in inputs and not isinstance(value, tuple):
            result[name] = _array(name, value, inputs[name])
            continue
        for label, size in _sizes(name, value, inputs):
            if label in result and result[label] != size:
                raise BadModel(f"--bind {name}={shown(value)}: {label} is {shown(result[label])} by another --bind")
            result[label] = size
    return result


def free(model: ModelProto) -> dict[str, tuple[str, int]]:
    """Return the free sizes of the model by label, each with the first input and axis that has it."""
    result: dict[str, tuple[str, int]] = {}
    for i in load.free_inputs(model):
        for axis, size in enumerate(i.type.tensor_type.shape.dim):
            if load.is_free(size):
                result.setdefault(load.label(size, i.name, axis), (i.name, axis))
    return result


def shown(value: Any) -> str:
    """Return a size, a range or a shape as text, as on the command line."""
    if isinstance(value, tuple):
        return "x".join(map(shown, value))
    if isinstance(value, range):
        return f"{value.start}..{value.stop - 1}"
    return "?" if value is None else str(value)


def _array(name: str, value: Any, of: onnx.ValueInfoProto) -> np.ndarray:
    tensor = of.type.tensor_type
    array = np.asarray(value).astype(DTYPES[load.element(tensor.elem_type)])
    if array.ndim == 0 and tensor.shape.dim and all(d.dim_value == 1 for d in tensor.shape.dim):
        return array.reshape((1,) * len(tensor.shape.dim))
    if array.ndim != (rank := len(tensor.shape.dim)):
        shape = (
            "" if array.ndim else f"; a shape is given as {name}={'x'.join('?' * rank)}, or by axis: {name}.0={array}"
        )
        raise BadModel(f"--bind {name}: the input has rank {rank}, the value rank {array.ndim}{shape}")
    return array


def _sizes(name: str, value: Any, inputs: Mapping[str, onnx.ValueInfoProto]) -> Iterator[tuple[str, Any]]:
    """Yield the sizes that one binding gives, by label. Raises BadModel."""
    dims = {label: d for i in inputs.values() for label, d in _labels(i)}
    of, _, axis = name.rpartition(".")
    if name in inputs:
        yield from _shape(name, value, inputs[name])
    elif name in dims:
        yield name, _size(name, value, value)
    elif of in inputs and axis.isdecimal() and int(axis) < len(inputs[of].type.tensor_type.shape.dim):
        sizes = (None,) * int(axis) + (value,)
        yield from _axes(name, value, sizes, inputs[of])
    else:
        names = listed([*inputs, *(label for label, d in dims.items() if load.is_free(d))])
        raise BadModel(f"{name} cannot be bound: the model's inputs and free sizes are {names}")


def _labels(i: onnx.ValueInfoProto) -> list[tuple[str, onnx.TensorShapeProto.Dimension]]:
    """Return the dimensions of an input that have no fixed size, with their labels."""
    dims = i.type.tensor_type.shape.dim
    return [(load.label(d, i.name, axis), d) for axis, d in enumerate(dims) if load.is_free(d)]


def _shape(name: str, shape: tuple[Any, ...], of: onnx.ValueInfoProto) -> Iterator[tuple[str, Any]]:
    rank = len(of.type.tensor_type.shape.dim)
    if len(shape) != rank:
        raise BadModel(f"--bind {name}={shown(shape)}: expected a shape of rank {rank}, got rank {len(shape)}")
    yield from _axes(name, shape, shape, of)


def _axes(name: str, value: Any, sizes: tuple[Any, ...], of: onnx.ValueInfoProto) -> Iterator[tuple[str, Any]]:
    """Yield by label the `sizes` of the first axes of an input, except those that are None."""
    for axis, (size, declared) in enumerate(zip(sizes, of.type.tensor_type.shape.dim, strict=False)):
        if size is None:
            continue
        if load.is_free(declared):
            yield load.label(declared, of.name, axis), _size(name, value, size)
        elif size != declared.dim_value:
            raise BadModel(
                f"--bind {name}={shown(value)}: axis {axis} of {of.name} is {declared.dim_value} in the model"
            )


def _size(name: str, value: Any, size: Any) -> int | range:
    if isinstance(size, range):
        valid = size.step == 1 and 1 <= size.start < size.stop <= MAX_SIZE
    else:
        valid = isinstance(size, int) and 1 <= size < MAX_SIZE
    if not valid:
        raise BadModel(f"--bind {name}={shown(value)}: expected an integer from 1, or a range such as 1..64")
    return size
