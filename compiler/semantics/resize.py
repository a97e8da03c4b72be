"""Resizing, axis by axis: the new size, and the old elements and weights that each new element is a mean of.

Interpolation is separable. Along an axis of a fixed size, every mode and every transformation of coordinates becomes a
table of indices and weights. Along one of a dynamic size, coordinates are fractions, so that indices are exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from intaglio.compiler.ir import dims
from intaglio.compiler.ir.dims import Dim, NotLinear, TooSmall
from intaglio.compiler.ir.errors import BadModel
from intaglio.compiler.ir.nodes import Node

Scale = float | tuple[Dim, Dim]  # a number, or the new size and the old one if one of them is dynamic
_SIMPLE = 1 << 10  # the largest denominator of a scale of a dynamic size


@dataclass(frozen=True)
class Resized:
    """An axis of `size` elements that becomes one of `count`, `scale` times as large.

    roi: the part of it, from 0 to 1, that becomes the new one where coordinates count as in tf_crop_and_resize.
    """

    size: Dim
    count: Dim
    scale: Scale
    roi: tuple[float, float] = (0.0, 1.0)

    @property
    def unchanged(self) -> bool:
        return self.size == self.count and self.scale in (1, (self.size, self.size)) and self.roi == (0.0, 1.0)

    @property
    def is_fixed(self) -> bool:
        """Whether its coordinates are known at compile time."""
        return self.unchanged or (isinstance(self.size, int) and isinstance(self.scale, float))


def resized(node: Node) -> list[Resized]:
    """How each axis of a Resize's input is resized. Raises BadModel, and NotLinear for dynamic sizes."""
    shape = node.inputs[0].shape
    axes = node.attrs.get("axes") or list(range(len(shape)))
    if any(not -len(shape) <= a < len(shape) for a in axes):
        raise BadModel(f"the axes {axes} are outside of {node.inputs[0].type}")
    axes = [a % len(shape) for a in axes]
    cropped = node.attrs.get("coordinate_transformation_mode") == "tf_crop_and_resize"
    roi = _numbers(_known(node, 1), 2 * len(axes), -np.inf) if cropped else None
    counts, scales = _counts(node, [shape[a] for a in axes])
    result = [Resized(d, d, 1.0) for d in shape]
    for i, axis in enumerate(axes):
        part = (float(roi[i]), float(roi[i + len(axes)])) if roi is not None else (0.0, 1.0)
        result[axis] = Resized(shape[axis], counts[i], scales[i], part)
    return result


def _counts(node: Node, old: list[Dim]) -> tuple[list[Dim], list[Scale]]:
    """The new size and the scale of each axis of an `old` size, by the scales or the sizes that the node has."""
    scales, sizes = _known(node, 2), _known(node, 3)
    if (scales is None) == (sizes is None):
        raise BadModel("it needs either scales or sizes, and not both")
    if sizes is None:
        factors = _numbers(scales, len(old), 0).tolist()
        return [_scaled(d, factor) for d, factor in zip(old, factors, strict=True)], factors
    new: list[Dim] = [d if isinstance(d, dims.Expr) else int(d) for d in sizes]
    if len(new) != len(old) or any(dims.high(d) < 1 for d in new):
        raise BadModel(f"expected {len(old)} positive sizes, got {new}")
    ratios = [_ratio(*pair) for pair in zip(new, old, strict=True)]
    if (policy := node.attrs.get("keep_aspect_ratio_policy", "stretch")) == "stretch":
        return new, ratios
    factors = [number(ratio) for ratio in ratios]
    factor = min(factors) if policy == "not_larger" else max(factors)
    return [int(factor * dims.fixed(d) + 0.5) for d in old], [factor] * len(old)


def number(scale: Scale) -> float:
    """Return a scale as a number. Raises NotLinear if it depends on a dynamic size."""
    if isinstance(scale, tuple):
        raise NotLinear(f"the scale ({dims.plain(scale[0])}) / ({dims.plain(scale[1])})")
    return scale


def _known(node: Node, i: int) -> np.ndarray | None:
    value = node.input(i)
    if value is None:
        return None
    if value.const is None:
        raise NotLinear(f"{value.name} is computed at run time")
    return value.array.reshape(-1) if value.array.size else None


def _numbers(numbers: np.ndarray | None, count: int, above: float) -> np.ndarray:
    if numbers is not None and numbers.dtype == object:
        raise NotLinear("a scale depends on a dynamic size")
    if numbers is None or len(numbers) != count or not (np.isfinite(numbers) & (numbers > above)).all():
        raise BadModel(f"expected {count} positive numbers for its scales, sizes or roi, got {numbers}")
    return numbers


def _ratio(count: Dim, size: Dim) -> Scale:
    if count == size and dims.low(size) > 0:
        return 1.0
    if isinstance(size, dims.Expr) or isinstance(count, dims.Expr):
        return count, size
    if size == 0:
        raise BadModel("it resizes an empty axis")
    return float(count / size)


def _scaled(size: Dim, scale: float) -> Dim:
    if isinstance(size, dims.Expr):
        numerator, denominator = _fraction(scale)
        return dims.floor(size * numerator, denominator)
    return int(size * scale)


def _fraction(scale: float) -> tuple[int, int]:
    """Return a scale, which is a rounded number, as a fraction. Raises NotLinear if it is not a simple one."""
    fraction = Fraction(float(scale)).limit_denominator(_SIMPLE)
    if abs(float(fraction) - scale) > 1e-6 * scale:
        raise NotLinear(f"the scale {scale} of a dynamic size")
    return fraction.numerator, fraction.denominator


@dataclass(frozen=True)
class Line:
    """The coordinate (a i + b) / c of each new element i among the old ones."""

    a: Dim
    b: Dim
    c: Dim


def line(axis: Resized, node: Node) -> Line:
    """The coordinates along an axis of a dynamic size. Raises NotLinear for those that are not supported."""
    mode = node.attrs.get("coordinate_transformation_mode", "half_pixel")
    new, old = axis.scale if isinstance(axis.scale, tuple) else _fraction(axis.scale)
    if mode == "asymmetric":
        return Line(old, 0, new)
    if mode == "tf_half_pixel_for_nn":
        return Line(old * 2, old, new * 2)
    if mode in ("half_pixel", "pytorch_half_pixel"):
        if mode == "pytorch_half_pixel" and dims.low(axis.count) < 2:
            raise TooSmall(f"a resized axis of {dims.plain(axis.count)} elements may have one", axis.count, 2)
        return Line(old * 2, old - new, new * 2)
    if mode == "align_corners" and isinstance(axis.scale, tuple):
        if dims.low(axis.count) < 2:
            raise TooSmall(f"a resized axis of {dims.plain(axis.count)} elements may have one", axis.count, 2)
        return Line(axis.size - 1, 0, axis.count - 1)
    raise NotLinear(f"the coordinates {mode} along an axis of {dims.plain(axis.size)} elements")


def coordinates(axis: Resized, mode: str) -> np.ndarray:
    """The coordinates of the new elements among the old ones."""
    count, size, scale = dims.fixed(axis.count), dims.fixed(axis.size), number(axis.scale)
    i = np.arange(count, dtype=np.float64)
    length = scale * size  # what the new axis would be as long as, were it not rounded
    start, end = axis.roi
    if mode == "asymmetric":
        return i / scale
    if mode == "tf_half_pixel_for_nn":
        return (i + 0.5) / scale
    if mode == "align_corners":
        return i * (size - 1) / (length - 1) if length != 1 else 0 * i
    if mode == "tf_crop_and_resize":
        step = i * (end - start) / (length - 1) if length != 1 else 0 * i + (end - start) / 2
        return (step + start) * (size - 1)
    if mode == "pytorch_half_pixel" and length == 1:
        return 0 * i - 0.5
    offset = size / 2 * (1 - count / length) if mode == "half_pixel_symmetric" else 0
    return offset + (i + 0.5) / scale - 0.5


_ROUNDED = {
    "round_prefer_floor": lambda x: np.ceil(x - 0.5),
    "round_prefer_ceil": lambda x: np.floor(x + 0.5),
    "floor": np.floor,
    "ceil": np.ceil,
}


def nearest(axis: Resized, node: Node) -> np.ndarray:
    """The old element that each new one is."""
    rounded = _ROUNDED[node.attrs.get("nearest_mode", "round_prefer_floor")](_coordinates(axis, node))
    return np.clip(rounded.astype(np.int64), 0, dims.fixed(axis.size) - 1)


def weighted(axis: Resized, node: Node) -> tuple[np.ndarray, np.ndarray]:
    """The old elements that each new one is a mean of, and their weights: both [count, taps]."""
    size, a = dims.fixed(axis.size), node.attrs.get("cubic_coeff_a", -0.75)
    kernel, reach = (lambda d: _cubic(d, a), 2) if node.attrs["mode"] == "cubic" else (_linear, 1)
    shrunk = min(number(axis.scale), 1.0) if node.attrs.get("antialias") else 1.0
    x = _coordinates(axis, node)[:, None]
    taps = 2 * int(np.ceil(reach / shrunk))
    places = np.floor(x).astype(np.int64) + np.arange(1 - taps // 2, 1 + taps // 2)
    weights = kernel(np.abs(places - x) * shrunk)
    if node.attrs.get("exclude_outside"):
        weights = np.where((places < 0) | (places >= size), 0, weights)
    weights /= weights.sum(-1, keepdims=True)
    return np.clip(places, 0, size - 1).astype(np.int32), weights.astype(np.float32)


def outside(axis: Resized, node: Node) -> np.ndarray:
    """Which of the new elements lie outside of the old ones."""
    x = _coordinates(axis, node)
    return (x < 0) | (x > dims.fixed(axis.size) - 1)


def _coordinates(axis: Resized, node: Node) -> np.ndarray:
    return coordinates(axis, node.attrs.get("coordinate_transformation_mode", "half_pixel"))


def _linear(distance: np.ndarray) -> np.ndarray:
    return np.clip(1 - distance, 0, 1)


def _cubic(d: np.ndarray, a: float) -> np.ndarray:
    """Keys, Cubic convolution interpolation for digital image processing, 1981."""
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    return np.where(d <= 1, near, np.where(d < 2, far, 0))
