"""Tensors and attributes of a model file as numpy has them; weights in external files are mapped, not read."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import AttributeProto, TensorProto

from intaglio.compiler.ir import memory_mapped
from intaglio.compiler.ir.errors import BadModel, UnsupportedOperator
from intaglio.compiler.ir.values import DTYPES
from intaglio.compiler.semantics.types import element


def array(tensor: TensorProto, folder: Path | None) -> np.ndarray:
    """The content of a weight; from an external file it is mapped, not read. Raises BadModel."""
    try:
        name, shape = element(tensor.data_type), tuple(tensor.dims)
        dtype = np.dtype(DTYPES[name])
        if any(d < 0 for d in shape):
            raise BadModel(f"its shape {list(shape)} has a negative size")
        if tensor.data_location == TensorProto.EXTERNAL:
            if name in ("i4", "u4"):
                return _unpacked(
                    _external(tensor, np.dtype(np.uint8), (-(-math.prod(shape) // 2),), folder), dtype, shape
                )
            return _external(tensor, dtype, shape, folder)
        if tensor.HasField("raw_data") and name not in ("i4", "u4"):
            return np.frombuffer(tensor.raw_data, dtype).reshape(shape)
        return onnx.numpy_helper.to_array(tensor)
    except UnsupportedOperator as e:
        raise UnsupportedOperator(f"the weight {tensor.name}: {e}") from e
    except (BadModel, ValueError, TypeError, OSError) as e:
        raise BadModel(f"the weight {tensor.name}: {e}") from e


def _external(tensor: TensorProto, dtype: np.dtype, shape: tuple[int, ...], folder: Path | None) -> np.ndarray:
    if folder is None:
        raise BadModel("it is in an external file; compile the model from its path, not from memory")
    info = {e.key: e.value for e in tensor.external_data}
    root = folder.resolve()
    path = (root / info.get("location", "")).resolve()
    if not path.is_relative_to(root):
        raise BadModel(f"it is outside of the model's folder, in {path}; move that file beside the model")
    if not path.is_file():
        raise BadModel(f"{path} is missing; copy it beside the model")
    offset, size = int(info.get("offset", 0)), math.prod(shape) * dtype.itemsize
    if int(info.get("length", size)) != size:
        raise BadModel(
            f"it has {info['length']} bytes, expected {size} for {dtype}{list(shape)}; export the model again"
        )
    if offset < 0 or offset + size > path.stat().st_size:
        raise BadModel(f"{path} is too short; copy the file again")
    return memory_mapped.in_file(path, dtype, shape, offset)


def _unpacked(pairs: np.ndarray, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
    """Numbers of four bits, which ONNX packs by twos, the first one low."""
    halves = np.stack([pairs & 15, pairs >> 4], axis=-1).reshape(-1)[: math.prod(shape)]
    return memory_mapped.moved(halves.astype(dtype)).reshape(shape)


def attribute(proto: AttributeProto, folder: Path | None) -> Any:
    if proto.name == "to":
        return element(proto.i)
    value = onnx.helper.get_attribute_value(proto)
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, TensorProto):
        return array(value, folder)
    if proto.type == AttributeProto.STRINGS:
        return [text.decode() for text in value]
    return list(value) if proto.type in (AttributeProto.INTS, AttributeProto.FLOATS) else value
