"""Classes of adapters. A class has a profile of variants in each bundle, so that a GPU that nobody tuned has kernels
that suit its kind.

designs.json holds the classes as data, so every runtime finds the same one.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

VARIABLE = "INTAGLIO_ADAPTER_CLASS"
OTHER = "gpu"  # the class of an adapter that is in no other


@dataclass(frozen=True)
class AdapterClass:
    """Adapters of one of these types, or of one of these vendors.

    types: wgpu's adapter types, such as "CPU". vendors: PCI or Khronos ids. names: vendors in a browser's
    `GPUAdapterInfo.vendor`.
    """

    types: tuple[str, ...] = ()
    vendors: tuple[int, ...] = ()
    names: tuple[str, ...] = ()


CLASSES = {
    "cpu": AdapterClass(types=("CPU",), names=("google",)),
    "nvidia": AdapterClass(vendors=(0x10DE,), names=("nvidia",)),
    "amd": AdapterClass(vendors=(0x1002, 0x1022), names=("amd",)),
    "apple": AdapterClass(vendors=(0x106B,), names=("apple",)),
    "intel": AdapterClass(vendors=(0x8086,), names=("intel",)),
    "mobile": AdapterClass(  # Qualcomm, ARM, Imagination, Samsung, Broadcom
        vendors=(0x5143, 0x13B5, 0x1010, 0x144D, 0x14E4), names=("qualcomm", "arm", "img-tec", "samsung", "broadcom")
    ),
    OTHER: AdapterClass(),
}


def forced() -> str:
    """Return the class that the environment variable INTAGLIO_ADAPTER_CLASS forces, or "". Raises ValueError."""
    name = os.environ.get(VARIABLE, "")
    return name and check(name)


def adapter_class(classes: Mapping[str, AdapterClass], info: Mapping[str, Any]) -> tuple[str, str]:
    """Return the class of an adapter, and why it is that one.

    info: wgpu's description of the adapter. Raises ValueError if the class that is forced does not exist.
    """
    if name := forced():
        return name, f"{VARIABLE} says so"
    type, vendor, name = info["adapter_type"], info["vendor_id"], str(info["vendor"]).lower()
    for each, of in classes.items():
        if type in of.types:
            return each, f"its type is {type}"
        if vendor in of.vendors or name in of.names:
            return each, f"its vendor is {name or hex(vendor)} ({vendor:#06x})"
    return OTHER, f"its vendor {name or hex(vendor)} ({vendor:#06x}) has no class of its own"


def check(name: str) -> str:
    """Return `name`. Raises ValueError if it is not a class of adapters."""
    if name not in CLASSES:
        raise ValueError(f"{name!r} is not a class of adapters; expected one of {', '.join(CLASSES)}")
    return name
