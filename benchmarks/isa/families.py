"""The kinds of GPU that a driver of Mesa compiles for without one, and the environment in which it does.

RADV takes the family from a variable. Other drivers need a drm-shim, a library of Mesa's source that plays the kernel's
part: no distribution has it as a package, so it is looked for in a folder of the user.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks import vulkan_layer
from benchmarks.adapter import ROOT

LAYER = Path(__file__).with_name("isa_layer.c")
MANIFESTS = ("/etc/vulkan/icd.d", "/usr/local/share/vulkan/icd.d", "/usr/share/vulkan/icd.d")


class NoDriver(RuntimeError):
    """No driver here compiles for a family, and why."""


@dataclass(frozen=True)
class Family:
    """A kind of GPU. adapter_class: the class whose profile it runs. driver: how the name of the driver's manifest
    begins. variable, names: the environment variable that sets the family, and the values that versions of Mesa know it
    by. shim: the drm-shim that the driver needs. unit: lanes in the unit of RADV's "Subgroups per SIMD". registers: KiB
    of vector registers in a SIMD, which bound occupancy.
    """

    adapter_class: str
    driver: str
    variable: str
    names: tuple[str, ...]
    shim: str = ""
    unit: int = 32
    registers: int = 128


FAMILIES = {
    "navi21": Family("amd", "radeon", "RADV_FORCE_FAMILY", ("navi21",)),
    "vega10": Family("amd", "radeon", "RADV_FORCE_FAMILY", ("vega10",), unit=64, registers=64),
    "navi31": Family("amd", "radeon", "RADV_FORCE_FAMILY", ("navi31", "gfx1100"), registers=192),
    "tgl": Family("intel", "intel", "INTEL_STUB_GPU_PLATFORM", ("tgl",), "libintel_noop_drm_shim.so"),
    "dg2": Family("intel", "intel", "INTEL_STUB_GPU_PLATFORM", ("dg2",), "libintel_noop_drm_shim.so"),
    "a740": Family("mobile", "freedreno", "FD_GPU_ID", ("740",), "libfreedreno_noop_drm_shim.so"),
}


def environment(name: str, drivers: Path | None, folder: Path) -> dict[str, str]:
    """The environment in which wgpu's only adapter is of this family, with the layer, which is built into `folder`.

    drivers: a folder of the user with drm-shims, and with manifests that come before those of the system. Raises
    NoDriver, and NoLayer.
    """
    family = FAMILIES[name]
    manifest = _manifest(family, drivers)
    shim = _shim(family, drivers)
    common = {
        **vulkan_layer.environment(LAYER, folder),
        "VK_DRIVER_FILES": str(manifest),
        "VK_ICD_FILENAMES": str(manifest),  # the same, for loaders before 1.3.207
        "MESA_SHADER_CACHE_DISABLE": "true",
        **({"LD_PRELOAD": str(shim)} if shim else {}),
    }
    for value in family.names:
        if _opens(variables := common | {family.variable: value}):
            return variables
    raise NoDriver(f"{name}: the driver of {manifest} does not compile for {' or '.join(family.names)}")


def _manifest(family: Family, drivers: Path | None) -> Path:
    folders = [*([drivers] if drivers else []), *map(Path, MANIFESTS)]
    for path in _matching(folders, f"{family.driver}_icd*.json"):
        return path
    raise NoDriver(f"Mesa's {family.driver} driver is not installed: apt-get install mesa-vulkan-drivers (Debian)")


def _shim(family: Family, drivers: Path | None) -> Path | None:
    if not family.shim:
        return None
    path = drivers / family.shim if drivers else None
    if path is None or not path.exists():
        raise NoDriver(f"{family.shim} is missing: build it from Mesa's source, and name its folder with --drivers")
    return path.absolute()


def _matching(folders: list[Path], pattern: str) -> Iterator[Path]:
    for folder in folders:
        yield from sorted(folder.glob(pattern))


def _opens(variables: Mapping[str, str]) -> bool:
    """Whether a device opens in this environment; RADV ends a process that asks for a family it does not know."""
    command = [sys.executable, "-m", "benchmarks.adapter"]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | dict(variables), capture_output=True)
    return done.returncode == 0
