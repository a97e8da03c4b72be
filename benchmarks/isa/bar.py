"""What a kernel that runs on GPUs is held to, by what their compilers make of it."""

from __future__ import annotations

from collections.abc import Iterable

from benchmarks.isa.choices import CPU
from benchmarks.isa.families import FAMILIES
from benchmarks.isa.rows import Row

LANES = 32  # the narrowest wave of most GPUs: a workgroup of fewer leaves lanes idle
# Wave -> the least occupancy, in units of 32 lanes, where a SIMD has so many KiB of registers. A wave of 64 is two
# units, so 12 are 6 waves, in which a lane has 128 registers. Families with fewer are held to a share of it.
OCCUPANCY, REGISTERS = {32: 8, 64: 12}, 192


def broken(rows: Iterable[Row]) -> list[str]:
    """A line for each rule that a kernel of a GPU's profile breaks: its name, variant and classes, and the numbers."""
    return [f"{_name(row)}: {why}" for row in rows if set(row.classes) - {CPU} for why in _faults(row)]


def _name(row: Row) -> str:
    classes = ", ".join(name for name in row.classes if name != CPU)
    return f"{row.bundle}: {row.kernel} ({row.variant or 'its only variant'}), of {classes}, on {row.family}"


def _faults(row: Row) -> list[str]:
    figures = row.figures
    if figures is None:
        return [row.refused]
    faults = []
    if figures.spilled:
        faults.append(f"{figures.spilled} registers spill; a lane has {figures.registers}")
    if row.size % LANES and row.invocations >= LANES:
        shape = " x ".join(map(str, row.workgroup))
        faults.append(f"its workgroup of {shape} is not a multiple of {LANES}, and {row.invocations} invocations run")
    least = OCCUPANCY.get(figures.wave, 0) * FAMILIES[row.family].registers / REGISTERS
    if figures.occupancy is not None and figures.occupancy < least:
        faults.append(
            f"occupancy {figures.occupancy:g}, expected {least:g} in waves of {figures.wave}; "
            f"{figures.registers} registers, {figures.shared} bytes of workgroup memory"
        )
    return faults
