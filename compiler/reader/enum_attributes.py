"""Attributes whose value is one of a few words. ONNX documents the words, but does not check them."""

from __future__ import annotations

from onnx import NodeProto

from intaglio.compiler.ir.errors import BadModel

_SAMPLED = "linear nearest cubic bilinear bicubic"
_COUNTED = """half_pixel half_pixel_symmetric pytorch_half_pixel align_corners asymmetric tf_crop_and_resize
    tf_half_pixel_for_nn"""
_CHOICES = {
    "auto_pad": "NOTSET SAME_UPPER SAME_LOWER VALID",
    "approximate": "none tanh",
    "reduction": "none add mul max min mean sum",
    "nearest_mode": "round_prefer_floor round_prefer_ceil floor ceil",
    "keep_aspect_ratio_policy": "stretch not_larger not_smaller",
    "padding_mode": "zeros border reflection",
    "BitShift.direction": "LEFT RIGHT",
    "GRU.direction": "forward reverse bidirectional",
    "LSTM.direction": "forward reverse bidirectional",
    "RNN.direction": "forward reverse bidirectional",
    "DepthToSpace.mode": "DCR CRD",
    "SpaceToDepth.mode": "DCR CRD",
    "GridSample.mode": _SAMPLED,
    "Pad.mode": "constant reflect edge wrap",
    "Resize.coordinate_transformation_mode": _COUNTED,
    "Resize.mode": "nearest linear cubic",
    "RoiAlign.coordinate_transformation_mode": "half_pixel output_half_pixel",
    "RoiAlign.mode": "avg max",
    "TensorScatter.mode": "linear circular",
    "Upsample.mode": "nearest linear bilinear trilinear",
}


def check(node: NodeProto) -> None:
    """Raise BadModel for a word that the attribute does not allow."""
    for a in node.attribute:
        words = _CHOICES.get(f"{node.op_type}.{a.name}") or _CHOICES.get(a.name)
        if words is not None and a.s.decode() not in words.split():
            raise BadModel(f"{a.name} is {a.s.decode()!r}, expected one of {', '.join(words.split())}")
