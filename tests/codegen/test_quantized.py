"""Layers and tables whose weights are quantized in the file: onnxruntime's numbers, and small bundles."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnxruntime
import pytest
import readable
from onnx import helper, numpy_helper
from parity import every_variant

import intaglio
import tint

RANDOM = np.random.default_rng(5)
KINDS = {4: ml_dtypes.uint4, 8: np.uint8}
MICROSOFT = "com.microsoft"


@dataclass
class Model:
    """A graph from x (or ids) to y, with constants, and how many bytes its weights may take in a bundle."""

    nodes: list[onnx.NodeProto]
    constants: dict[str, np.ndarray]
    most: float
    inputs: dict[str, np.ndarray] = field(default_factory=dict)
    opset: int = 21

    def proto(self) -> onnx.ModelProto:
        tensors = [numpy_helper.from_array(a, name) for name, a in self.constants.items()]
        inputs = [_declared(name, a) for name, a in self.inputs.items()]
        outputs = [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)]
        opsets = [helper.make_opsetid("", self.opset), helper.make_opsetid(MICROSOFT, 1)]
        graph = helper.make_graph(self.nodes, "main", inputs, outputs, tensors)
        return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def _declared(name: str, array: np.ndarray) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)


def node(op: str, inputs: str, outputs: str = "y", **attrs: Any) -> onnx.NodeProto:
    names = [name.strip() for name in inputs.split(",")]
    return helper.make_node(op, names, [name.strip() for name in outputs.split(",")], **attrs)


def rows(count: int, width: int) -> dict[str, np.ndarray]:
    return {"x": RANDOM.standard_normal((1, count, width)).astype(np.float32)}


def codes(bits: int, *shape: int) -> np.ndarray:
    return RANDOM.integers(0, 1 << bits, shape)


def scales(*shape: int) -> np.ndarray:
    """Not numbers of f16."""
    return RANDOM.uniform(0.01, 0.03, shape).astype(np.float32)


def octets(numbers: np.ndarray, bits: int) -> np.ndarray:
    """Along the last axis, as many numbers in a byte as it holds, the first one low."""
    each = 8 // bits
    whole = np.pad(numbers, [(0, 0)] * (numbers.ndim - 1) + [(0, -numbers.shape[-1] % each)])
    return sum(whole[..., i::each] << bits * i for i in range(each)).astype(np.uint8)


def nbits(bits: int, block: int, zero: bool, count: int, k: int, n: int = 24) -> Model:
    """MatMulNBits."""
    groups = -(-k // block)
    constants = {"w": octets(codes(bits, n, groups, block), bits), "s": scales(n, groups)}
    if zero:
        constants["z"] = octets(codes(bits, n, groups), bits)
    attrs = {"K": k, "N": n, "bits": bits, "block_size": block, "domain": MICROSOFT}
    each = np.gcd(k, block)
    most = n * k * (max(bits, 4) / 8 + (8 if zero else 4) / each) + n * 32
    return Model([node("MatMulNBits", f"x, {', '.join(constants)}", **attrs)], constants, most, rows(count, k))


def wide(bits: int, zero: bool, count: int, k: int) -> Model:
    """MatMulNBits of so many columns that workgroups share a sum; of small numbers, because digits are lost in it."""
    model = nbits(bits, 32, zero, count, k)
    model.inputs["x"] /= 32
    return model


def float_zeros(bits: int, count: int) -> Model:
    """MatMulNBits with zero points that are no integers."""
    model = nbits(bits, 32, True, count, 64)
    model.constants["z"] = RANDOM.uniform(0, 1 << bits, (24, 2)).astype(np.float32)
    return model


def ordered(bits: int, count: int, k: int = 64, block: int = 16) -> Model:
    """MatMulNBits whose columns are in groups that lie anywhere (act-order)."""
    model = nbits(bits, block, False, count, k)
    model.constants["g"] = RANDOM.permutation(np.arange(k) // block).astype(np.int32)
    model.nodes[0].input[:] = ["x", "w", "s", "", "g"]
    return model


def bitsandbytes(kind: int, count: int, n: int = 24, k: int = 64) -> Model:
    """MatMulBnb4: FP4 or NF4, blocks of 64 along the rows one after another."""
    constants = {"w": RANDOM.integers(0, 256, n * k // 2).astype(np.uint8), "s": scales(n * k // 64)}
    attrs = {"K": k, "N": n, "block_size": 64, "quant_type": kind, "domain": MICROSOFT}
    return Model([node("MatMulBnb4", "x, w, s", **attrs)], constants, n * k * 2 + 16, rows(count, k))


def table(dtype: Any, bits: int, block: int, zero: bool) -> Model:
    """GatherBlockQuantized."""
    n, k, whole = 40, 64, dtype == np.uint8
    made = codes(bits, n, k) - (8 if dtype == ml_dtypes.int4 else 0)
    constants = {"w": octets(made, bits) if whole else made.astype(dtype), "s": scales(n, k // block)}
    if zero:
        points = codes(bits, n, k // block) - (8 if dtype == ml_dtypes.int4 else 0)
        constants["z"] = octets(points, bits) if whole else points.astype(dtype)
    attrs = {"block_size": block, "quantize_axis": 1, "gather_axis": 0, "domain": MICROSOFT}
    attrs |= {"bits": bits} if whole else {}
    made = [node("GatherBlockQuantized", f"w, ids, {', '.join(list(constants)[1:])}", **attrs)]
    most = n * k * (bits / 8 + 8 / block) + n * 32
    return Model(made, constants, most, {"ids": RANDOM.integers(0, n, (1, 7))})


def dequantized(
    dtype: Any, count: int, scale: tuple[int, ...], k: int = 64, n: int = 40, zero: bool = True, **attrs: int
) -> Model:
    """DequantizeLinear of a weight [K, N] before MatMul."""
    bits = ml_dtypes.iinfo(dtype).bits
    least = int(ml_dtypes.iinfo(dtype).min)
    constants = {"w": (codes(bits, k, n) + least).astype(dtype), "s": scales(*scale)}
    if zero:
        constants["z"] = (codes(bits, *scale) + least).astype(dtype)
    made = [node("DequantizeLinear", ", ".join(constants), "v", **attrs), node("MatMul", "x, v")]
    most = n * k * bits / 8 + n * (k / attrs.get("block_size", k)) * 8 + n * 32
    return Model(made, constants, most, rows(count, k))


def narrow(dtype: Any, count: int, k: int = 64, n: int = 40) -> Model:
    """A weight in fewer bits, cast before it is used."""
    constants = {"w": RANDOM.standard_normal((k, n)).astype(dtype)}
    return Model([node("Cast", "w", "v", to=1), node("MatMul", "x, v")], constants, 2 * k * n + 16, rows(count, k))


def dynamic(op: str, count: int, per_channel: bool) -> Model:
    """As quantize_dynamic writes a product, and a convolution over 20 rows of 16 channels."""
    n, k = 40, 64
    convolution = op == "ConvInteger"
    shape = (n, 16, 3) if convolution else (k, n)
    constants = {"w": (codes(8, *shape) - 128).astype(np.int8)}
    several = (n,) if per_channel else ()
    constants |= {"z": np.zeros(several, np.int8), "s": scales(*several)}
    x = {"x": RANDOM.standard_normal((1, 16, 20)).astype(np.float32)} if convolution else rows(count, k)
    made = [
        node("DynamicQuantizeLinear", "x", "q, qs, qz"),
        node(op, "q, w, qz, z", "i", **({"pads": [1, 1]} if convolution else {})),
        node("Cast", "i", "f", to=1),
        node("Mul", "qs, s", "a"),
        node("Mul", "f, a"),
    ]
    return Model(made, constants, constants["w"].size + n * 64, x)


def spelled(dtype: Any, scale: tuple[int, ...], zero: bool, by: str = "Mul") -> Model:
    """A weight of 8 bits whose dequantization is spelled out: a cast, a zero point, a scale."""
    k, n = 64, 40
    least = int(np.iinfo(dtype).min)
    constants = {"w": (codes(8, k, n) + least).astype(dtype), "s": scales(*scale)}
    constants |= {"z": (codes(4, *scale) + 100 + least).astype(np.float32)} if zero else {}
    constants["s"] = 1 / constants["s"] if by == "Div" else constants["s"]
    made = [node("Cast", "w", "f", to=1)]
    made += [node("Sub", "f, z", "g")] if zero else []
    made += [node(by, "g, s" if zero else "f, s", "v"), node("MatMul", "x, v")]
    return Model(made, constants, n * k + n * 48, rows(5, k))


def spelled_blocks(count: int) -> Model:
    """Rows of blocks [n, blocks, width] with a scale each, which become rows [n, k]."""
    constants = {"w": (codes(8, 40, 4, 16) - 128).astype(np.int8), "s": scales(40, 4, 1), "k": np.array([40, 64])}
    made = [node("Cast", "w", "f", to=1), node("Mul", "s, f", "b"), node("Reshape", "b, k", "r")]
    made += [node("Transpose", "r", "v", perm=[1, 0]), node("MatMul", "x, v")]
    return Model(made, constants, 40 * 64 + 40 * 64, rows(count, 64))


def static(count: int) -> Model:
    """What is multiplied is quantized with numbers that are known."""
    model = dequantized(np.int8, count, (), zero=True)
    grid = {"xs": np.float32(0.03), "xz": np.uint8(113)}
    before = [node("QuantizeLinear", "x, xs, xz", "q"), node("DequantizeLinear", "q, xs, xz", "r")]
    model.nodes = [*before, model.nodes[0], node("MatMul", "r, v")]
    model.constants |= {name: np.asarray(value) for name, value in grid.items()}
    return model


MODELS = {
    **{
        f"MatMulNBits, {bits} bits, blocks of {block} in {k}{', zero points' * zero}, {count} rows": nbits(
            bits, block, zero, count, k
        )
        for bits in (4, 8)
        for block, k in ((16, 64), (32, 64), (32, 80), (64, 192), (128, 160))
        for zero in (False, True)
        for count in (1, 5)
    },
    **{
        f"MatMulNBits, 2 bits{', zero points' * zero}, {count} rows": nbits(2, 32, zero, count, 64)
        for zero in (False, True)
        for count in (1, 5)
    },
    **{f"MatMulNBits, {bits} bits, zero points of f32": float_zeros(bits, 5) for bits in (2, 4)},
    **{f"MatMulNBits, in any order, {count} rows": ordered(4, count) for count in (1, 5)},
    **{
        f"MatMulBnb4, {name}, {count} rows": bitsandbytes(kind, count)
        for kind, name in enumerate(("FP4", "NF4"))
        for count in (1, 5)
    },
    "MatMulNBits, many rows": nbits(4, 32, True, 70, 64),
    **{
        f"MatMulNBits, {bits} bits, {count} wide rows{', zero points' * zero}": wide(bits, zero, count, k)
        for bits, count, k, zero in ((4, 1, 9600, True), (8, 1, 4800, False), (4, 33, 288, False), (8, 33, 288, True))
    },
    "MatMulNBits, odd columns": nbits(4, 32, True, 5, 64, n=21),
    **{
        f"table of {np.dtype(dtype).name}, {bits} bits, blocks of {block}{', zero points' * zero}": table(
            dtype, bits, block, zero
        )
        for dtype, bits in ((ml_dtypes.int4, 4), (ml_dtypes.uint4, 4), (np.uint8, 4), (np.uint8, 8))
        for block in (16, 32)
        for zero in (False, True)
    },
    **{
        f"{np.dtype(dtype).name} {name}, {count} rows": dequantized(dtype, count, **how)
        for dtype in (np.int8, np.uint8, ml_dtypes.int4, ml_dtypes.uint4)
        for name, how in {
            "per tensor": {"scale": ()},
            "per tensor, without zero point": {"scale": (), "zero": False},
            "per channel": {"scale": (40,), "axis": 1},
            "per channel of 48 columns": {"scale": (40,), "axis": 1, "k": 48},
            "blocked": {"scale": (2, 40), "axis": 0, "block_size": 32},
        }.items()
        for count in (1, 5)
    },
    **{
        f"{np.dtype(dtype).name}, {count} rows": narrow(dtype, count)
        for dtype in (np.float16, ml_dtypes.bfloat16)
        for count in (1, 5)
    },
    **{
        f"{op}{', per channel' if each else ''}, {count} rows": dynamic(op, count, each)
        for op, each, count in (("MatMulInteger", False, 1), ("MatMulInteger", True, 5), ("ConvInteger", False, 20))
    },
    "static, 5 rows": static(5),
    **{
        f"spelled out, {np.dtype(dtype).name}{name}{', zero points' * zero}": spelled(dtype, scale, zero)
        for dtype in (np.int8, np.uint8)
        for name, scale in (("", ()), (", per column", (40,)))
        for zero in (False, True)
    },
    "spelled out, divided": spelled(np.int8, (40,), True, by="Div"),
    "spelled out, blocks": spelled_blocks(5),
}


def run(model: Model) -> Sequence[Any]:
    """What onnxruntime computes."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.proto().SerializeToString(), options, ["CPUExecutionProvider"])
    return session.run(None, model.inputs)


@pytest.fixture(scope="module")
def bundle_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A model of MODELS, compiled once."""

    @cache
    def compiled(name: str) -> Path:
        return intaglio.compile(MODELS[name].proto(), tmp_path_factory.mktemp("quantized") / "bundle").folder

    return compiled


@pytest.mark.parametrize("name", MODELS)
def test_against_onnxruntime(name: str, bundle_of: Callable[[str], Path]) -> None:
    model, folder = MODELS[name], bundle_of(name)
    (expected,) = run(model)
    tolerance = 2e-4 if "Bnb4" in name else 2e-5  # no kernel unpacks those, and f16 holds them
    for session in every_variant(folder):
        np.testing.assert_allclose(session.run("main", model.inputs)["y"], expected, rtol=1e-5, atol=tolerance)
    stored = sum(len(p.read_bytes()) for p in folder.glob("weights-*.safetensors"))
    assert stored <= model.most + 2048, "the weight is larger than its codes and scales"


def test_every_shader_passes_tint_and_reads_well(bundle_of: Callable[[str], Path]) -> None:
    assert not tint.wrong(map(bundle_of, MODELS))
    assert not readable.residue(map(bundle_of, MODELS))


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_groups_in_any_order_have_zero_points(bits: int, tmp_path: Path) -> None:
    """Against the same columns in order, for onnxruntime leaves these zero points out and reads all as 4 bits."""
    model, k = nbits(bits, 16, True, 5, 64), 64
    (expected,) = run(model)
    order = RANDOM.permutation(k)  # where each column of the other model comes from
    parts = [model.constants["w"] >> shift & ((1 << bits) - 1) for shift in range(0, 8, bits)]
    numbers = np.stack(parts, axis=-1).reshape(24, k)
    model.constants["w"] = octets(numbers[:, order].reshape(24, 4, 16), bits)
    model.constants["g"] = (order // 16).astype(np.int32)
    model.inputs["x"] = model.inputs["x"][..., order]
    model.nodes[0].input.append("g")
    bundle = intaglio.compile(model.proto(), tmp_path / "bundle")
    np.testing.assert_allclose(bundle.run(model.inputs)["y"], expected, rtol=1e-5, atol=2e-5)


def test_groups_of_different_sizes_are_refused(tmp_path: Path) -> None:
    model = ordered(4, 5)
    model.constants["g"][:] = 0
    with pytest.raises(intaglio.UnsupportedOperator, match="groups of equal size"):
        intaglio.compile(model.proto(), tmp_path / "bundle")


@pytest.mark.parametrize(
    "broken", [{"N": 25}, {"K": 1 << 40}, {"block_size": 1 << 60}, {"block_size": 0}, {"quant_type": 2}]
)
def test_broken_sizes_are_refused(broken: dict[str, int], tmp_path: Path) -> None:
    model = bitsandbytes(1, 5)
    for a in model.nodes[0].attribute:
        a.i = broken.get(a.name, a.i)
    with pytest.raises(intaglio.BadModel):
        intaglio.compile(model.proto(), tmp_path / "bundle")


def test_what_kernels_cannot_unpack_is_computed(tmp_path: Path) -> None:
    """Groups that are no multiples of 16 columns: f32, and right."""
    model = dequantized(np.int8, 5, (5, 40), k=40, axis=0, block_size=8)
    session = onnxruntime.InferenceSession(model.proto().SerializeToString(), providers=["CPUExecutionProvider"])
    bundle = intaglio.compile(model.proto(), tmp_path / "bundle")
    np.testing.assert_allclose(bundle.run(model.inputs)["y"], session.run(None, model.inputs)[0], rtol=1e-5, atol=2e-5)


def test_the_report_names_the_formats_of_the_file(tmp_path: Path) -> None:
    report = intaglio.compile(nbits(4, 32, True, 5, 64).proto(), tmp_path / "bundle").report["precision"]
    assert report["name"] == "q4" and len(report["packed"]["q4"]) == 1
