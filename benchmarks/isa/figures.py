"""The figures of a compiled kernel, whichever driver they come from. Each has its own names for them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# What instructions of AMD's assembly begin with, by kind.
_VECTOR, _MEMORY = "v_", ("buffer_", "tbuffer_", "global_", "flat_", "scratch_", "image_")
_SHARED, _MULTIPLY = "ds_", ("v_fma", "v_mad_f", "v_mac_f", "v_dot", "v_pk_fma")
_INSTRUCTION = re.compile(r"^\t(\w+)", re.MULTILINE)


@dataclass(frozen=True)
class Figures:
    """What a kernel takes. A figure that a driver does not report is None.

    wave: lanes that run together. registers: vector registers of a lane. spilled: those of them that live in memory, or
    accesses to them. scratch: bytes of a lane's private memory. occupancy: waves that a SIMD holds, in units of 32
    lanes. alu, memory: vector instructions that compute, and that access memory or textures. shared: bytes of workgroup
    memory. code: bytes. seconds: the processor's, to compile. useful: the part of the vector instructions, those of
    workgroup memory included, that multiply and add.
    """

    wave: int
    registers: int | None
    spilled: int
    scratch: int | None
    occupancy: float | None
    alu: int | None
    memory: int | None
    shared: int | None
    code: int | None
    seconds: float
    useful: float | None = None


def figures(record: Mapping[str, Any], driver: str, unit: int) -> Figures:
    """The figures in a record of the layer. Of several executables the one with the widest wave counts.

    unit: see Family.
    """
    widest = max(record["executables"], key=lambda executable: executable["subgroup"])
    wave, numbers, assembly = (widest[key] for key in ("subgroup", "statistics", "assembly"))
    return _READERS[driver](wave, numbers, assembly, unit, record["seconds"])


def _amd(wave: int, numbers: Mapping[str, int], assembly: str, unit: int, seconds: float) -> Figures:
    alu, memory, useful = instructions(assembly)
    return Figures(
        wave=wave,
        registers=numbers["VGPRs"],
        spilled=numbers["Spilled VGPRs"],
        scratch=numbers["Scratch size"] // wave,  # RADV gives that of a wave
        occupancy=numbers["Subgroups per SIMD"] * unit / 32,
        alu=alu,
        memory=memory,
        shared=numbers["LDS size"],
        code=numbers["Code size"],
        seconds=seconds,
        useful=useful,
    )


def instructions(assembly: str) -> tuple[int, int, float]:
    """Vector instructions of AMD's assembly that compute, and that access memory; and Figures.useful."""
    kinds = Counter[str]()
    for name in _INSTRUCTION.findall(assembly):
        kinds["alu"] += name.startswith(_VECTOR)
        kinds["memory"] += name.startswith(_MEMORY)
        kinds["shared"] += name.startswith(_SHARED)
        kinds["useful"] += name.startswith(_MULTIPLY)
    vector = kinds["alu"] + kinds["memory"] + kinds["shared"]
    return kinds["alu"], kinds["memory"], round(kinds["useful"] / max(vector, 1), 3)


def _intel(wave: int, numbers: Mapping[str, int], assembly: str, unit: int, seconds: float) -> Figures:
    """Intel's registers are those of a thread, and always 128: `Max live registers` are the ones in use."""
    sends = numbers.get("SEND messages")
    return Figures(
        wave=wave,
        registers=numbers.get("Max live registers"),
        spilled=numbers["Spill count"] + numbers["Fill count"],
        scratch=numbers.get("Scratch Memory Size"),
        occupancy=None,
        alu=numbers["Instruction Count"] - (sends or 0),
        memory=sends,
        shared=numbers.get("Workgroup Memory Size"),
        code=None,
        seconds=seconds,
    )


def _adreno(wave: int, numbers: Mapping[str, int], assembly: str, unit: int, seconds: float) -> Figures:
    """Adreno's registers are vec4s; what is spilled is read with LDP and written with STP."""
    kinds = [numbers.get(f"cat{i} instructions", 0) for i in range(8)]
    return Figures(
        wave=wave,
        registers=numbers.get("Registers used"),
        spilled=numbers.get("STP Count", 0) + numbers.get("LDP Count", 0),
        scratch=None,
        occupancy=numbers["Max Waves Per Core"] * wave / 32,
        alu=sum(kinds[1:5]) or None,
        memory=sum(kinds[5:7]) or None,
        shared=None,
        code=numbers.get("Code size"),
        seconds=seconds,
    )


_READERS = {"radeon": _amd, "intel": _intel, "freedreno": _adreno}
