"""The adapter: chosen, and opened with WebGPU's default limits, so that a bundle that runs here runs anywhere.

Kernels that need more declare it.
"""

from __future__ import annotations

import threading
from collections.abc import Collection
from weakref import WeakKeyDictionary

import wgpu

from intaglio.runtime import native, tuning
from intaglio.runtime.errors import NoAdapter
from intaglio.runtime.limits import DEFAULT_LIMITS, FEATURES, LARGER_LIMITS
from intaglio.runtime.plan import Plan

_locks: WeakKeyDictionary[wgpu.GPUDevice, threading.RLock] = WeakKeyDictionary()
_locks_lock = threading.Lock()


def lock(device: wgpu.GPUDevice) -> threading.RLock:
    """The lock that a thread holds while it uses a device. All users of a device share one; it is reentrant.

    wgpu-native 29 hangs if one thread writes a texture while another submits, and ends the process if two threads map
    one buffer.
    """
    with _locks_lock:
        return _locks.setdefault(device, threading.RLock())


def wait(device: wgpu.GPUDevice) -> None:
    """Wait until the adapter has done everything that was submitted; reading back has that effect."""
    with lock(device):
        word = device.create_buffer(size=4, usage=wgpu.BufferUsage.COPY_SRC)
        device.queue.read_buffer(word)


def adapters() -> list[wgpu.GPUAdapter]:
    """Every adapter that wgpu lists, in its order."""
    native.prepare()
    return wgpu.gpu.enumerate_adapters_sync()


def choose() -> wgpu.GPUAdapter:
    """The adapter that programs run on. Raises NoAdapter.

    OpenGL is refused: wgpu falls back to it if Vulkan finds no driver, but it lacks features that bundles need.
    """
    native.prepare()
    try:
        adapter = wgpu.gpu.request_adapter_sync(power_preference="high-performance")
    except RuntimeError:
        adapter = None
    if adapter is None or adapter.info["backend_type"] == "OpenGL":
        raise NoAdapter(
            "no WebGPU adapter; install the Vulkan driver of your GPU, or Mesa's software one: "
            "apt install mesa-vulkan-drivers (see docs/troubleshooting.md)"
        )
    return adapter


def open_device(features: Collection[str] = (), needs: Collection[str] = ()) -> wgpu.GPUDevice:
    """A device with those of FEATURES, and of wgpu's `features`, that the adapter has, and WebGPU's default limits.

    The limits are larger if `needs` includes that and the adapter has them. Raises NoAdapter.
    """
    adapter = choose()
    # Limits must be named: left out, wgpu-py grants the adapter's own.
    larger = LARGER_LIMITS if "larger-limits" in tiers(adapter).intersection(needs) else {}
    limits: dict[str, int | None] = {**DEFAULT_LIMITS, **larger}
    granted = sorted(adapter.features & {*features, *FEATURES.values()})
    return adapter.request_device_sync(required_limits=limits, required_features=granted)


def needs(plan: Plan) -> set[str]:
    """The tiers that a plan's kernels need in the variants for the adapter. Raises NoAdapter."""
    adapter = choose()
    plan = tuning.tuned(plan, adapter.info, tiers(adapter))
    return set(plan.needs)


def tiers(of: wgpu.GPUAdapter | wgpu.GPUDevice) -> set[str]:
    """The tiers that an adapter or a device has."""
    larger = all(of.limits[name] >= least for name, least in LARGER_LIMITS.items())
    return {name for name, wgpus in FEATURES.items() if wgpus in of.features} | ({"larger-limits"} if larger else set())
