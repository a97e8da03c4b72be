"""The sizes of Fourier transforms, and of the frames of a signal that are transformed."""

from __future__ import annotations

from dataclasses import dataclass

from intaglio.compiler.ir import dims
from intaglio.compiler.ir.dims import Dim, NotLinear, TooSmall
from intaglio.compiler.ir.errors import BadModel
from intaglio.compiler.ir.nodes import Node
from intaglio.compiler.ir.values import TensorType, Value


@dataclass(frozen=True)
class Transform:
    """`size` numbers along `axis`, cut or padded with zeros to `length`, become `count` ones of so many parts."""

    axis: int
    size: Dim
    length: Dim
    count: Dim
    parts: int


def transform(node: Node) -> Transform:
    """What a DFT does. Raises BadModel, and NotLinear for sizes that are not known."""
    x, rank = node.inputs[0], len(node.inputs[0].shape)
    axis = -2 if node.input(2) is None else _number(node.inputs[2], "axis")
    if rank < 2 or not -rank <= axis < rank or axis % rank == rank - 1 or x.shape[-1] not in (1, 2):
        raise BadModel(
            f"expected complex numbers [..., 1 or 2] and an axis before the last, got {x.type} and axis {axis}"
        )
    size, half = x.shape[axis], bool(node.attrs.get("onesided"))
    to_real = half and bool(node.attrs.get("inverse"))
    length = (2 * size - 2 if to_real else size) if node.input(1) is None else _number(node.inputs[1], "length")
    if dims.high(length) < 1:
        raise BadModel(f"the length of its transform is {length}, expected 1 or more")
    count = length // 2 + 1 if half and not to_real else length
    return Transform(axis % rank, size, length, count, 1 if to_real else 2)


def transformed(node: Node) -> list[TensorType]:
    x, t = node.inputs[0], transform(node)
    shape = [*x.shape[:-1], t.parts]
    shape[t.axis] = t.count
    return [TensorType(x.dtype, tuple(shape))]


def frames(node: Node) -> tuple[int, int, Dim]:
    """How many numbers the frames of an STFT have, how far they are apart, and how many there are."""
    signal, window, length = node.inputs[0], node.input(2), node.input(3)
    if len(signal.shape) != 3 or (window is not None and len(window.shape) != 1):
        raise BadModel(f"expected a signal [batch, length, 1 or 2] and a window [length], got {signal.type}")
    if length is not None:
        size = _number(length, "length")
    elif window is not None:
        size = window.shape[0]
    else:
        raise BadModel("it needs a window or a frame_length")
    step = _number(node.inputs[1], "step")
    if not isinstance(size, int):
        raise NotLinear(f"its frame length {size} is dynamic")
    if step < 1 or size < 1 or (isinstance(signal.shape[1], int) and signal.shape[1] < size):
        raise BadModel(f"{signal.type} is too short for frames of {size} in steps of {step}")
    if dims.low(signal.shape[1] - size) < 0:
        raise TooSmall(f"a frame of {size} may be longer than {signal.type}", signal.shape[1] - size, 0)
    return size, step, dims.floor(signal.shape[1] - size, step) + 1


def framed(node: Node) -> list[TensorType]:
    signal, (size, _, count) = node.inputs[0], frames(node)
    bins = size // 2 + 1 if node.attrs.get("onesided", 1) else size
    return [TensorType(signal.dtype, (signal.shape[0], count, bins, 2))]


def _number(value: Value, what: str) -> int:
    if value.scalar is None:
        raise NotLinear(f"the {what} {value.name} is computed at run time")
    return int(value.scalar)
