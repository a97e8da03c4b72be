"""Products with few tiles, or with few rows of the weight, for GPUs: each workgroup sums a slice of the columns.

A second dispatch adds the sums of the slices up, always in the same order, and goes on with bias and tail. So a row's
result does not depend on the other rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import lcm
from typing import Any

from intaglio.codegen import wgsl
from intaglio.codegen.kernel import Groups, Kernel, Operand, groups
from intaglio.codegen.target import MAX_WORKGROUPS
from intaglio.compiler.ir import dims
from intaglio.compiler.ir.dims import Dim, fixed
from intaglio.compiler.ir.values import TensorType, Value
from intaglio.runtime.limits import WORD

_SUMS = 1 << 25  # up to this many bytes of sums
_TILES = 128  # workgroups with tiles that keep a large GPU busy
_STEPS = 2  # of tiles that a slice has, at least
_BLOCKS = 512  # workgroups without tiles
_LOADS = 8  # loads, one after the other, that take longer than a dispatch
_LANES = 64


def tile_slices(rows: Dim, sums: int, tiles: int, steps: int) -> int:
    """Return in how many slices a product of tiles is split; 1 if that is not possible or has no use.

    rows: of x. sums: of each. tiles: of the fewest rows. steps: of the tiles, through all columns of x.
    """
    most = _SUMS // (WORD * sums * dims.high(rows)) if dims.high(rows) <= MAX_WORKGROUPS else 1
    return max(1, min(-(-_TILES // tiles), steps // _STEPS, most))


def vector_slices(blocks: int, loads: int) -> int:
    """Return in how many slices a matrix-vector product is split; 1 if that saves less time than a dispatch takes.

    blocks: workgroups of a slice. loads: of an invocation, one after the other, if there is one slice.
    """
    slices = max(1, min(_BLOCKS // blocks, loads))
    return slices if loads - -(-loads // slices) >= _LOADS else 1


def in_slices(kernel: Kernel, variant: Mapping[str, Any], rows: Dim, slices: int, unit: int) -> dict[str, Any]:
    """Return a variant with the columns that are summed split into about `slices`, of whole `unit`s of vec4s.

    kernel: the product, without variants. variant: what the workgroups of a slice do. rows: of x.
    """
    consts = kernel.consts
    factors = {n: o for n, o in kernel.reads.items() if n in ("x", "gamma", "beta") or n.startswith("weight")}
    unit = lcm(unit, consts.get("each", 1))
    slice = -(-consts["k4"] // (slices * unit)) * unit
    count = -(-consts["k4"] // slice)
    width = 4 * consts["groups"] * len(consts["weights"])
    sums = Value(f"{next(iter(kernel.writes.values())).name}.sums", TensorType("f32", (count * dims.high(rows), width)))
    along, *across = variant["grid"]
    grid = (along, *(across or [Groups((1,))]), Groups((count,)))
    return {
        **variant,
        "grid": grid,
        "reads": factors,
        "writes": {"sums": sums},
        "tail": (),
        "vec4": frozenset((*factors, "sums")),
        "consts": variant["consts"] | {"slice": slice},
        "then": (_sum(kernel, factors, sums, rows, count),),
    }


def _sum(kernel: Kernel, factors: Mapping[str, Operand], sums: Value, rows: Dim, slices: int) -> Kernel:
    consts = kernel.consts
    rest = {name: operand for name, operand in kernel.reads.items() if name not in factors}
    columns = consts["columns"] // (2 if consts["half"] else 1)
    return Kernel(
        "product_sum",
        {"sums": sums, **rest},
        kernel.writes,
        (groups(columns, per=4 * _LANES), groups(rows)),
        (_LANES,),
        consts | {"slices": slices, "rows": wgsl.size(rows)},
        label=f"product_sum_{columns}",
        vec4=frozenset(("sums", *kernel.vec4 - factors.keys())),
        tail=kernel.tail,
        flops=rows * slices * fixed(sums.type.shape[-1]),
    )
