"""The adapter: found, and opened with WebGPU's default limits, so that a bundle that runs here runs anywhere, but for
kernels that say that they need more."""

from __future__ import annotations

import os
from collections.abc import Collection
from contextlib import suppress
from functools import cache

from intaglio.runtime.errors import NoAdapter

# Mesa complains on standard error when this is unset; no file is ever put there.
os.environ.setdefault("XDG_RUNTIME_DIR", os.environ.get("TMPDIR", "/tmp"))
# Mesa's software adapter cuts every dispatch into as many equal parts as it has threads. With one for each core all
# wait for the core that is late; with two, the others take what it leaves.
os.environ.setdefault("LP_NUM_THREADS", str(2 * (os.cpu_count() or 1)))

import wgpu
from wgpu.backends.wgpu_native import ffi
from wgpu.backends.wgpu_native.extras import set_instance_extras

from intaglio.runtime import tuning
from intaglio.runtime.c_types import quicken
from intaglio.runtime.limits import DEFAULT_LIMITS, FEATURES, LARGER_LIMITS
from intaglio.runtime.plan import Plan


@cache
def _prepare() -> None:
    """See that wgpu looks for no OpenGL, and for nothing that validates indirect dispatches, of which there are none:
    that takes longer than the rest of a start. A process that used wgpu before keeps what it has.
    """
    with suppress(AttributeError):
        quicken(ffi)
    with suppress(RuntimeError):
        set_instance_extras(backends=["Primary"], flags=["Empty"])


def adapters() -> list[wgpu.GPUAdapter]:
    """Every adapter that wgpu finds, in its order."""
    _prepare()
    return wgpu.gpu.enumerate_adapters_sync()


def choose() -> wgpu.GPUAdapter:
    """The adapter that programs run on. Raises NoAdapter.

    OpenGL does not count: wgpu falls back to it where Vulkan finds no driver, and lacks half of what is needed there.
    """
    _prepare()
    try:
        adapter = wgpu.gpu.request_adapter_sync(power_preference="high-performance")
    except RuntimeError:
        adapter = None
    if adapter is None or adapter.info["backend_type"] == "OpenGL":
        raise NoAdapter(
            "no WebGPU adapter was found; install a Vulkan driver (Debian, Ubuntu: apt install mesa-vulkan-drivers)"
        )
    return adapter


def open_device(features: Collection[str] = (), needs: Collection[str] = ()) -> wgpu.GPUDevice:
    """A device with what the adapter has of FEATURES and of wgpu's `features`, and with WebGPU's default limits; with
    larger ones if they are among `needs` and the adapter has them. Raises NoAdapter.
    """
    adapter = choose()
    # Limits must be named: left out, wgpu-py grants the adapter's own.
    limits = DEFAULT_LIMITS | (LARGER_LIMITS if "larger-limits" in tiers(adapter).intersection(needs) else {})
    granted = sorted(adapter.features & {*features, *FEATURES.values()})
    return adapter.request_device_sync(required_limits=limits, required_features=granted)


def needs(plan: Plan) -> set[str]:
    """Those of TIERS that a plan's kernels need, in the designs for the adapter. Raises NoAdapter."""
    adapter = choose()
    plan = tuning.tuned(plan, adapter.info, tiers(adapter))
    return {need for kernel in plan.used.values() for need in kernel.needs}


def tiers(of: wgpu.GPUAdapter | wgpu.GPUDevice) -> set[str]:
    """Those of TIERS that an adapter or a device has."""
    larger = all(of.limits[name] >= wanted for name, wanted in LARGER_LIMITS.items())
    return {name for name, wgpus in FEATURES.items() if wgpus in of.features} | ({"larger-limits"} if larger else set())
