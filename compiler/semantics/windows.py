"""Windows that slide along axes, as convolutions and poolings have them: every spelling of the padding ends here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from intaglio.compiler.ir import dims
from intaglio.compiler.ir.dims import Dim, NotLinear, TooSmall
from intaglio.compiler.ir.errors import BadModel
from intaglio.compiler.ir.nodes import Node
from intaglio.compiler.ir.values import TensorType, Value

_MOST = 1 << 31  # what an attribute may count


@dataclass(frozen=True)
class Window:
    """A window of `kernel` elements, `dilation` apart, that moves by `stride` along an axis of `size` elements with
    `before` and `after` ones of padding: it stops at `count` places.

    A transposed one is the inverse: each of `size` elements is spread over such a window of the `count` elements of the
    result, of which `before` and `after` ones are left out.
    """

    size: Dim
    kernel: int
    stride: int
    dilation: int
    before: Dim
    after: Dim
    count: Dim


def windows(node: Node) -> list[Window]:
    """The windows along each spatial axis of a convolution or pooling. Raises BadModel if they are none."""
    slide = _Slide(node)
    return [slide.transposed(i) if node.op == "ConvTranspose" else slide.forward(i) for i in range(len(slide.sizes))]


def convolved(node: Node) -> list[TensorType]:
    """The type of a convolution's result. The weight is [out, in / group, ...]; transposed, [in, out / group, ...]."""
    x, weight = node.inputs[:2]
    group = node.attrs.get("group", 1)
    channels, each = weight.shape[:2] if len(weight.shape) == len(x.shape) > 2 else (0, 0)
    if not isinstance(channels, int) or not isinstance(each, int) or channels * each * group < 1 or channels % group:
        raise BadModel(f"the shape of its weight {weight.type} does not match {x.type} in {group} groups")
    slid = windows(node)
    out, inputs = (each * group, channels) if node.op == "ConvTranspose" else (channels, each * group)
    bias = node.input(3 if node.op == "DeformConv" else 2)
    fits = inputs == x.shape[1] and tuple(w.kernel for w in slid) == weight.shape[2:]
    if not fits or (bias is not None and bias.shape != (out,)):
        weights = " and ".join(str(v.type) for v in (weight, bias) if v is not None)
        raise BadModel(f"the shapes of {weights} in {group} groups do not match {x.type}")
    return [TensorType(x.dtype, (x.shape[0], out, *(w.count for w in slid)))]


def pooled(node: Node) -> list[TensorType]:
    """The type of a pooling's result, and of the indices of where the largest elements lie."""
    x = node.inputs[0]
    shape = (*x.shape[:2], *(w.count for w in windows(node)))
    return [TensorType(x.dtype, shape), TensorType("i64", shape)][: len(node.outputs)]


def unpooled(node: Node) -> tuple[Dim, ...]:
    """The shape whose pooling gives the shape of a MaxUnpool's input."""
    slid = windows(node)
    return (*node.inputs[0].shape[:2], *((w.size - 1) * w.stride + w.kernel - w.before - w.after for w in slid))


def blocks(node: Node) -> list[Window]:
    """The windows of the image that a Col2Im puts together. Raises NotLinear where they are not known."""
    x, *sizes = node.inputs
    if any(v.const is None or v.const.dtype == object for v in sizes):
        raise NotLinear("the sizes of the image and of its blocks are not constants")
    image, block = (v.array.reshape(-1).tolist() for v in sizes)
    like = Value(x.name, TensorType(x.dtype, (*x.shape[:2], *image)))
    return windows(Node("Im2Col", (like,), node.outputs, node.attrs | {"kernel_shape": block}))


def assembled(node: Node) -> list[TensorType]:
    x, slid = node.inputs[0], blocks(node)
    taps = math.prod(w.kernel for w in slid)
    if (
        len(x.shape) != 3
        or x.shape[2] != dims.product(tuple(w.count for w in slid))
        or not dims.divides(taps, x.shape[1])
    ):
        raise BadModel(f"{x.type} does not hold blocks of {taps} elements at {[w.count for w in slid]} places")
    return [TensorType(x.dtype, (x.shape[0], x.shape[1] // taps, *(w.size for w in slid)))]


class _Slide:
    """The attributes of a node, with their defaults."""

    def __init__(self, node: Node) -> None:
        self.attrs, self.sizes = node.attrs, node.inputs[0].shape[2:]
        rank = len(self.sizes)
        if rank < 1:
            raise BadModel(f"expected an input [batch, channels, ...], got {node.inputs[0].type}")
        weight = node.input(1) if "Conv" in node.op else None
        self.kernels = self.numbers("kernel_shape", weight.shape[2:] if weight is not None else None, 1)
        self.strides, self.dilations = self.numbers("strides", [1] * rank, 1), self.numbers("dilations", [1] * rank, 1)
        self.pads = self.numbers("pads", [0] * 2 * rank, 0)
        self.auto_pad = self.attrs.get("auto_pad", "NOTSET")

    def numbers(self, name: str, default: Sequence[Dim] | None, least: int) -> Sequence[int]:
        values = self.attrs.get(name, default)
        count = len(self.sizes) * (2 if name == "pads" else 1)
        if (
            values is None
            or len(values) != count
            or any(not isinstance(n, int) or not least <= n < _MOST for n in values)
        ):
            raise BadModel(f"{name} is {values}, expected {count} integers, each {least} or more")
        return values

    def forward(self, i: int) -> Window:
        size, kernel, stride, dilation = self.sizes[i], self.kernels[i], self.strides[i], self.dilations[i]
        extent = (kernel - 1) * dilation + 1
        if self.auto_pad in ("SAME_UPPER", "SAME_LOWER"):
            count = dims.ceil(size, stride)
            before, after = self.shared(_at_least_0((count - 1) * stride + extent - size))
            return Window(size, kernel, stride, dilation, before, after, count)
        before, after = (0, 0) if self.auto_pad == "VALID" else (self.pads[i], self.pads[i + len(self.sizes)])
        free = size + before + after - extent
        if isinstance(free, int) and free < 0:
            raise BadModel(f"a window of {extent} is larger than {size} elements with their padding")
        if dims.low(free) < 0:
            raise TooSmall(f"a window of {extent} may be larger than {size} elements with their padding", free, 0)
        if self.attrs.get("ceil_mode"):  # a window that begins behind the elements does not count
            free = size + before - 1 + min(stride + after - extent, 0)
        count = dims.floor(free, stride) + 1
        return Window(size, kernel, stride, dilation, before, after, count)

    def transposed(self, i: int) -> Window:
        size, kernel, stride, dilation = self.sizes[i], self.kernels[i], self.strides[i], self.dilations[i]
        extra = self.numbers("output_padding", [0] * len(self.sizes), 0)[i]
        full = (size - 1) * stride + (kernel - 1) * dilation + 1 + extra
        if shape := self.attrs.get("output_shape"):
            before, after = self.shared(_constant(full - self.numbers("output_shape", shape, 1)[i]))
        elif self.auto_pad in ("SAME_UPPER", "SAME_LOWER"):
            before, after = self.shared(_constant(full - size * stride))
        else:
            before, after = self.pads[i], self.pads[i + len(self.sizes)]
        count = full - before - after
        if dims.low(count) < 1:
            raise BadModel(f"a padding of {before} and {after} removes all of {full} elements")
        return Window(size, kernel, stride, dilation, before, after, count)

    def shared(self, padding: Dim) -> tuple[Dim, Dim]:
        """`padding` at both ends; where it is odd, auto_pad says which gets more. What lacks is added at the end."""
        if dims.low(padding) < 0:
            return 0, padding
        less = dims.floor(padding, 2)
        return (less, padding - less) if self.auto_pad == "SAME_UPPER" else (padding - less, less)


def _at_least_0(padding: Dim) -> Dim:
    if dims.low(padding) >= 0:
        return padding
    if dims.high(padding) <= 0:
        return 0
    raise NotLinear(f"the padding {dims.plain(padding)}, which may be negative")


def _constant(d: Dim) -> int:
    if isinstance(d, dims.Expr):
        raise NotLinear(f"the padding {d} is dynamic")
    return d
