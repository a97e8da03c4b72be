"""Rounding to 8 bits in a tensor's range at run time, in three kernels: extremes of rows, extremes of all, rounding."""

from __future__ import annotations

from intaglio.codegen import wgsl
from intaglio.codegen.kernel import Kernel, fours, groups, own, refuse, rows_of
from intaglio.codegen.target import MAX_TRIPS
from intaglio.compiler.ir import dims
from intaglio.compiler.ir.dims import Dim
from intaglio.compiler.ir.nodes import Node
from intaglio.compiler.ir.operators import FakeQuantize
from intaglio.compiler.ir.values import TensorType, Value


@own(FakeQuantize)
def fake_quantize(node: Node, of: FakeQuantize[Value]) -> list[Kernel]:
    x = of.x
    rows, width, size = rows_of(x.shape), x.shape[-1], x.type.size
    if dims.high(2 * rows) > MAX_TRIPS or dims.high(width) > MAX_TRIPS:
        raise refuse(node, f"{x.type} needs more than {MAX_TRIPS} loop iterations")
    ends = Value(f"{x.name}.ends", TensorType("f32", (rows, 2)))
    range_ = Value(f"{x.name}.range", TensorType("f32", (1, 2)))
    vec4 = fours(size)
    count = size // 4 if vec4 else size
    consts = {"size": wgsl.size(count), "type": "vec4f" if vec4 else "f32"}
    reads, writes = {"x": x, "range": range_}, {"out": node.output}
    read_as_vec4 = frozenset({"x", "out"} if vec4 else ())
    return [
        _extremes(x, ends, rows, width),
        _extremes(ends, range_, 1, 2 * rows),
        Kernel("fake_quantize", reads, writes, (groups(count, per=64),), (64,), consts, "fake_quantize", read_as_vec4),
    ]


def _extremes(x: Value, out: Value, rows: Dim, width: Dim) -> Kernel:
    consts = {"rows": wgsl.size(rows), "width": wgsl.size(width)}
    return Kernel("extremes", {"x": x}, {"out": out}, (groups(rows, per=64),), (64,), consts, "extremes")
