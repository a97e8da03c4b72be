"""device: this machine's adapters, what they offer beyond WebGPU's defaults, and whether a tuning exists for them."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from intaglio.commands.arguments import add_adapter
from intaglio.commands.progress import ProgressLine
from intaglio.runtime import tuning
from intaglio.runtime.adapter_class import CLASSES, adapter_class
from intaglio.runtime.errors import NoAdapter
from intaglio.runtime.limits import DEFAULT_LIMITS, FEATURES, LARGER_LIMITS, TIERS
from intaglio.text import table

if TYPE_CHECKING:
    import wgpu

SUMMARY = "show this machine's adapters and what they support"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_adapter(parser)


def run(options: argparse.Namespace, progress: ProgressLine) -> int:
    from intaglio.runtime import device

    missing = None
    try:
        chosen = dict(device.choose().info)
    except NoAdapter as error:
        chosen, missing = {}, error
    for index, adapter in enumerate(device.adapters()):
        print(describe(index, adapter, "used" if adapter.info == chosen else "not used"))
    if missing is not None:
        raise missing
    return 0


def describe(index: int, adapter: wgpu.GPUAdapter, state: str) -> str:
    """An adapter's driver, tiers, limits beside WebGPU's defaults, and features."""
    info = adapter.info
    rows = [
        ["backend", info["backend_type"]],
        ["type", info["adapter_type"]],
        ["driver", info["description"] or "unknown"],
        ["class", "{} ({})".format(*adapter_class(CLASSES, info))],
        ["tuning", shipped_tuning(info)],
    ]
    lines = [f"{index}: {info['device'] or 'unnamed'} ({state})", *table(rows), "  tiers", *table(_tiers(adapter))]
    limits = [[f"  {name}", f"{adapter.limits[name]} (used: {used})"] for name, used in DEFAULT_LIMITS.items()]
    return "\n".join(
        [*lines, "  limits", *table(limits), f"  features  {', '.join(sorted(adapter.features)) or 'none'}"]
    )


def shipped_tuning(info: Mapping[str, str]) -> str:
    """Whether every bundle contains a tuning for this adapter."""
    from intaglio.codegen.bundle import tunings

    closest = tuning.closest(tunings.shipped(), info)
    if closest is None:
        return "none is built in; `intaglio tune` measures one"
    same = (closest.device, closest.driver) == tuning.adapter(info)
    return "built in" + ("" if same else f", measured on {closest.device}, {closest.driver or 'unknown driver'}")


def _tiers(adapter: wgpu.GPUAdapter) -> Iterable[list[str]]:
    """Each tier: whether this adapter has it, and why."""
    from intaglio.runtime.device import tiers

    available = tiers(adapter)
    low = _too_low(adapter, DEFAULT_LIMITS)
    yield ["  default", "no" if low else "yes", f"too low: {low}" if low else "every bundle runs"]
    reasons = {name: f"the adapter lacks the feature {feature}" for name, feature in FEATURES.items()}
    reasons["larger-limits"] = f"too low: {_too_low(adapter, LARGER_LIMITS)}"
    for name in TIERS:
        yield [
            f"  {name}",
            *(["yes", "a tuning may choose its kernels"] if name in available else ["no", reasons[name]]),
        ]


def _too_low(adapter: wgpu.GPUAdapter, limits: Mapping[str, int]) -> str:
    return ", ".join(name for name, least in limits.items() if adapter.limits[name] < least)
