"""Arithmetic on shapes, axes, slices and paddings, with sizes that may be symbolic."""

from __future__ import annotations

import math
from typing import NoReturn

from intaglio.compiler.ir import dims
from intaglio.compiler.ir.dims import Dim, TooSmall, Unequal
from intaglio.compiler.ir.errors import BadModel
from intaglio.compiler.ir.nodes import Node
from intaglio.compiler.ir.values import Value


def broadcast(*shapes: tuple[Dim, ...]) -> tuple[Dim, ...]:
    """The shape that `shapes` broadcast to; raises BadModel if they do not."""
    result: list[Dim] = []
    for i in range(-max(map(len, shapes)), 0):
        sizes = {s[i] for s in shapes if len(s) >= -i} - {1}
        if len(sizes) > 1:
            refuse_unequal(f"the shapes {', '.join(str(list(s)) for s in shapes)} do not broadcast", *list(sizes)[:2])
        result.append(sizes.pop() if sizes else 1)
    return tuple(result)


def refuse_unequal(what: str, a: Dim, b: Dim) -> NoReturn:
    """Raise Unequal if two different sizes may be equal, else BadModel."""
    if dims.same(a, b) is None:
        raise Unequal(what, a, b)
    raise BadModel(what)


def axis_of(axis: int, rank: int) -> int:
    """`axis`, counted from the front. Raises BadModel if it is outside of the tensor."""
    if not -rank <= axis < rank:
        raise BadModel(f"axis {axis} is outside of a tensor of rank {rank}")
    return axis % rank


def content(value: Value, what: str) -> list[Dim]:
    """The numbers or dimensions in a small integer tensor; raises DataDependent if they are not known."""
    if value.const is None:
        raise DataDependent(f"{what} {value.name} is computed at run time")
    return [d if isinstance(d, dims.Expr) else int(d) for d in value.array.reshape(-1)]


def integers(value: Value, what: str) -> list[int]:
    """The numbers in a small integer tensor; raises DataDependent if one is not known or symbolic."""
    numbers = content(value, what)
    fixed = [d for d in numbers if not isinstance(d, dims.Expr)]
    if len(fixed) < len(numbers):
        raise DataDependent(f"{what} {value.name} depends on a dynamic size")
    return fixed


def slices(node: Node) -> list[tuple[Dim, Dim, int]]:
    """For each axis of a Slice's input: first index, number of elements, step."""
    x = node.inputs[0]
    starts, ends = content(node.inputs[1], "the start"), content(node.inputs[2], "the end")
    axes = integers(node.inputs[3], "the axes") if node.input(3) else list(range(len(starts)))
    steps = integers(node.inputs[4], "the step") if node.input(4) else [1] * len(starts)
    if not len(starts) == len(ends) == len(axes) == len(steps) or 0 in steps:
        raise BadModel(f"starts {starts}, ends {ends}, axes {axes}, steps {steps} differ in number, or a step is 0")
    result: list[tuple[Dim, Dim, int]] = [(0, d, 1) for d in x.shape]
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        axis = axis_of(axis, len(x.shape))
        size = x.shape[axis]
        if step > 0:
            first, last = _clamped(start, size, 0, size), _clamped(end, size, 0, size)
            count = dims.ceil(last - first, step)
        elif isinstance(size, int) and isinstance(start, int) and isinstance(end, int):
            first, last, _ = slice(start, end, step).indices(size)
            count = max(0, math.ceil((last - first) / step))
        else:
            first, last = _clamped(start, size, 0, size - 1), _before(end, size)
            count = dims.ceil(first - last, -step)
        if dims.low(count) < 0:
            if dims.high(count) > 0:
                raise TooSmall(f"the slice {start}:{end} of {size} may be empty", last - first, 0)
            count = 0
        result[axis] = (first, count, step)
    return result


def _before(index: Dim, size: Dim) -> Dim:
    """Return the index before which a backward slice ends; -1 is before all elements."""
    return -1 if dims.high(index + size) < 0 else _clamped(index, size, 0, size - 1)


def _clamped(index: Dim, size: Dim, least: Dim, most: Dim) -> Dim:
    if dims.high(index) < 0:
        index = index + size
    elif dims.low(index) < 0:
        raise TooSmall(f"index {index} may count from either end", index, 0)
    if dims.low(index - most) >= 0:
        return most
    if dims.high(index - least) <= 0:
        return least
    if dims.low(index - least) < 0:
        raise TooSmall(f"index {index} may lie outside of {size}", index - least, 0)
    if isinstance(index, int) and dims.high(index - most) > 0:
        raise TooSmall(f"index {index} may lie outside of {size}", most - index, 0)
    return index  # a symbolic index is taken as written: a table is as long as the longest sequence


def paddings(node: Node) -> list[tuple[Dim, Dim]]:
    """For each axis of a Pad's input: how many elements come before it and after it."""
    x, pads = node.inputs[0], content(node.inputs[1], "the padding")
    axes = integers(node.inputs[3], "the axes") if node.input(3) else list(range(len(x.shape)))
    if len(pads) != 2 * len(axes):
        raise BadModel(f"expected a padding of two numbers for each of the axes {axes}, got {pads}")
    result: list[tuple[Dim, Dim]] = [(0, 0)] * len(x.shape)
    for i, axis in enumerate(axes):
        result[axis_of(axis, len(x.shape))] = pads[i], pads[i + len(axes)]
    return result


def strides(shape: tuple[Dim, ...]) -> tuple[Dim, ...]:
    """Elements from one index to the next along each axis of a row-major tensor."""
    return tuple(dims.product(shape[i + 1 :]) for i in range(len(shape)))


def broadcast_strides(shape: tuple[Dim, ...], out: tuple[Dim, ...]) -> tuple[Dim, ...]:
    """For each axis of `out`, the stride in a tensor of `shape` that is broadcast to it; 0 where it repeats."""
    padded = (1,) * (len(out) - len(shape)) + shape
    return tuple(0 if d == 1 else s for d, s in zip(padded, strides(padded), strict=True))


class DataDependent(Exception):
    """A shape depends on the content of a tensor that is not known at compile time."""
