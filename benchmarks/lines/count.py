"""Counts the memory lines that a warp's loads touch, and which part of them it uses.

What is assumed: invocations form warps in the order of their index. A warp has a line at hand for one iteration of the
innermost loop, so that all loads of an iteration count together; a loop of at most trace.ITERATIONS iterations is
unrolled, and counts as part of the loop around it. A texture lies in memory as rows of texels, one after the other, and
the first element of every binding begins a line. The first workgroup stands for all, and the first iterations for all.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.lines.parse import Unreadable, parse
from benchmarks.lines.trace import Access, trace
from intaglio.runtime.limits import TEXELS
from intaglio.runtime.plan import Buffer, Plan
from intaglio.runtime.sizes import Grid, workgroups

Granule = tuple[int, int]  # lanes of a warp, bytes of a line
GRANULES: tuple[Granule, ...] = tuple((warp, line) for warp in (32, 64) for line in (32, 64, 128))
LARGEST = max(line for _, line in GRANULES)  # a weight that fits a line, such as a list of heads, cannot waste one
_ELEMENT = re.compile(r"array<(?:vec(?P<count>[24]))?<?(?P<number>f32|i32|u32|f16|f|i|u|h)\b")
TYPICAL = 256  # of each symbol, where its range allows that


@dataclass(frozen=True)
class Lines:
    """Bytes that warps read, and bytes of the lines that they touch for that."""

    read: int = 0
    touched: int = 0

    @property
    def share(self) -> float:
        """The part of the lines that is read; 1 where nothing is loaded."""
        return self.read / self.touched if self.touched else 1.0

    def __add__(self, other: Lines) -> Lines:
        return Lines(self.read + other.read, self.touched + other.touched)


@dataclass(frozen=True)
class Use:
    """How a kernel uses the lines of a binding, by the lanes of a warp and the bytes of a line.

    weight: it is a weight that does not fit a line. together: all loads of an iteration share lines. alone: each load
    has its lines to itself. flight: the most bytes that an invocation loads in an iteration.
    """

    binding: str
    weight: bool
    flight: int
    together: dict[Granule, Lines]
    alone: dict[Granule, Lines]


@dataclass(frozen=True)
class Traced:
    """What the first workgroup of a dispatch accesses, by name. bound: the type of each binding, and its buffer.

    shared: the type of each array in workgroup memory.
    """

    bound: Mapping[str, tuple[str, Buffer]]
    shared: Mapping[str, str]
    accesses: Mapping[str, list[Access]]


def traced(bundle: Path, plan: Plan, kernel: str, buffers: Sequence[int], grid: Grid) -> Traced:
    """The accesses of a dispatch. Raises Unreadable for WGSL of no template."""
    shader = parse((bundle / plan.kernels[kernel].file).read_text(encoding="utf-8"))
    bound = {b.name: (b.type, plan.buffers[buffers[i]]) for i, b in shader.bindings.items() if i < len(buffers)}
    widths = {name: buffer.texture[0] for name, (_, buffer) in bound.items() if buffer.texture}
    symbols = typical(plan)
    accesses: dict[str, list[Access]] = defaultdict(list)
    for access in trace(shader, symbols, widths, (0, 0, 0), (*workgroups(grid, symbols), 1, 1)[:3]):
        accesses[access.name].append(access)
    return Traced(bound, shader.shared, accesses)


def used(of: Traced) -> list[Use]:
    """How a dispatch uses the lines of each binding that it loads from."""
    return [_use(name, loads, *of.bound[name]) for name, loads in of.accesses.items() if name in of.bound]


def counted(bundle: Path, plan: Plan, kernel: str, buffers: Sequence[int], grid: Grid) -> list[Use]:
    """How a dispatch uses the lines of each binding that it loads from. Raises Unreadable for WGSL of no template."""
    return used(traced(bundle, plan, kernel, buffers, grid))


def of_weights(uses: Iterable[Use]) -> dict[Granule, float]:
    """The part of the lines of all weights together that is read."""
    weights = [use for use in uses if use.weight]
    return {granule: sum((use.together[granule] for use in weights), Lines()).share for granule in GRANULES}


def typical(plan: Plan) -> dict[str, int]:
    """A value for each symbol, as large as a tile of any kernel."""
    return {name: min(max(low, TYPICAL), high) for name, (low, high) in plan.symbols.items()}


def element_bytes(type: str, buffer: Buffer) -> int:
    """Bytes of what an index counts: a texel of a texture, an element of an array. Raises Unreadable."""
    if size := TEXELS[buffer.format] if buffer.texture else element(type):
        return size
    raise Unreadable(f"expected an array of numbers or vectors, got {type}")


def element(type: str) -> int:
    """Bytes of an element of an array of numbers or vectors; 0 of any other type."""
    match = _ELEMENT.match(type)
    return int(match["count"] or 1) * (2 if match["number"] in ("h", "f16") else 4) if match else 0


def _use(name: str, loads: list[Access], type: str, buffer: Buffer) -> Use:
    iterations: dict[tuple[Any, ...], list[Access]] = defaultdict(list)
    for load in loads:
        iterations[tuple((id(loop), i) for loop, i in load.loops if not loop.short)].append(load)
    element = element_bytes(type, buffer)
    return Use(
        name,
        buffer.kind == "weight" and buffer.bytes > LARGEST,
        element * max(map(len, iterations.values())),
        {granule: _lines(iterations.values(), element, *granule) for granule in GRANULES},
        {granule: _lines(([load] for load in loads), element, *granule) for granule in GRANULES},
    )


def _lines(groups: Iterable[list[Access]], element: int, warp: int, line: int) -> Lines:
    """The lines of all warps; the loads of a group share lines."""
    read = touched = 0
    for group in groups:
        for first in range(0, group[0].active.size, warp):
            lanes = slice(first, first + warp)
            indices = np.unique(np.concatenate([load.index[lanes][load.active[lanes]] for load in group]))
            read += indices.size * element
            touched += np.unique(indices * element // line).size * line
    return Lines(read, touched)
