"""Sampling of images at computed coordinates: at the points of a grid, and in regions of interest."""

from __future__ import annotations

from intaglio.codegen import wgsl
from intaglio.codegen.kernel import Kernel, op, operand, per_element, refuse
from intaglio.compiler.ir import dims
from intaglio.compiler.ir.nodes import Node

_CUBIC = "select(((-0.75 * d + 3.75) * d - 6.0) * d + 3.0, (1.25 * d - 2.25) * d * d + 1.0, d <= 1.0)"  # Keys, 1981
# mode: elements per result along an axis, the weight of an element at distance d
_MODES = {"nearest": (1, "1.0"), "linear": (2, "1.0 - d"), "cubic": (4, _CUBIC)}
_PADDINGS = {
    "zeros": ("x", "select(-1, i, i < i32(size))"),
    "border": ("select(x, clamp(x, 0.0, size - 1.0), x < {low} || x > {high})", "clamp(i, 0, i32(size) - 1)"),
    "reflection": ("reflected(x, {low}, {high})", "i32(round(reflected(f32(i), {low}, {high})))"),
}

_MOST_SAMPLES = 255  # of a bin along an axis
# mode: the value of a sample from its four neighbours, how a value is accumulated, and the result
_POOLED = {
    "avg": ("a + b + c + d", "sum + value", "sum / f32(max(count.x * count.y, 1u))"),
    "max": ("max(max(a, b), max(c, d))", "select(max(sum, value), value, u + v == 0u)", "sum"),
}


@op("GridSample")
def grid_sample(node: Node) -> Kernel:
    x, grid = node.inputs
    plane = x.shape[2:]
    if any(not isinstance(d, int) for d in (x.shape[1], *plane)):
        raise refuse(node, f"the size of the image {x.type} is dynamic")
    if grid.shape[-1] != len(plane) or grid.shape[0] != x.shape[0]:
        raise refuse(node, f"the shape of the grid {grid.type} does not match {x.type}")
    mode, aligned = node.attrs.get("mode", "linear").removeprefix("bi"), node.attrs.get("align_corners")
    taps, weight = _MODES[mode]
    inside, entry = _PADDINGS[node.attrs.get("padding_mode", "zeros")]
    if mode == "cubic":
        inside = "x"  # as in torch: padding moves only elements, not coordinates
    place = "(v + 1.0) * 0.5 * (size - 1.0)" if aligned else "((v + 1.0) * size - 1.0) * 0.5"
    low, high = ("0.0", "size - 1.0") if aligned else ("-0.5", "size - 0.5")
    size, points = node.output.type.size, dims.product(node.output.shape[2:])
    consts = {
        "size": wgsl.size(size),
        "points": wgsl.size(points),
        "channels": x.shape[1],
        "plane": dims.product(plane),
        "axes": [{"size": d, "step": s} for d, s in zip(plane, wgsl.strides(plane), strict=True)],
        "taps": taps,
        "weight": weight,
        "place": f"round({place})" if mode == "nearest" else place,
        "inside": inside.format(low=low, high=high),
        "entry": entry.format(low=low, high=high),
    }
    reads = {"x": operand(x), "grid": operand(grid)}
    return per_element("grid_sample", reads, {"out": node.output}, size, consts, f"grid_sample_{mode}")


@op("RoiAlign")
def roi_align(node: Node) -> Kernel:
    x, rois, batch = node.inputs
    channels, height, width = x.shape[1:]
    half_pixel = node.attrs.get("coordinate_transformation_mode", "half_pixel") == "half_pixel"
    if not all(isinstance(d, int) for d in (channels, height, width)):
        raise refuse(node, f"the size of the image {x.type} is dynamic")
    if rois.shape[1:] != (4,) or batch.shape != rois.shape[:1] or node.attrs.get("sampling_ratio", 0) > _MOST_SAMPLES:
        raise refuse(node, f"the shapes of {rois.type} and {batch.type} do not match {x.type}")
    value, combine, finish = _POOLED[node.attrs.get("mode", "avg")]
    size = node.output.type.size
    consts = {
        "size": wgsl.size(size),
        "channels": channels,
        "height": height,
        "width": width,
        "rows": node.output.shape[2],
        "columns": node.output.shape[3],
        "scale": wgsl.number(node.attrs.get("spatial_scale", 1.0), "f32"),
        "offset": "0.5" if half_pixel else "0.0",
        "least": not half_pixel,
        "samples": node.attrs.get("sampling_ratio", 0),
        "value": value,
        "combine": combine,
        "finish": finish,
    }
    reads = {"x": operand(x), "rois": operand(rois), "batch": operand(batch)}
    return per_element("roi_align", reads, {"out": node.output}, size, consts, "roi_align")
