"""The adapter: chosen, and opened with WebGPU's default limits, so that a bundle that runs here runs anywhere.

Kernels that need more declare it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Collection
from weakref import WeakKeyDictionary

import wgpu

from intaglio.runtime import native, tuning
from intaglio.runtime.errors import NoAdapter, UnknownAdapter
from intaglio.runtime.limits import DEFAULT_LIMITS, FEATURES, LARGER_LIMITS
from intaglio.runtime.plan import Plan

VARIABLE = "INTAGLIO_ADAPTER"  # of the environment: the adapter, where a call does not name one

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


def choose(name: str | int | None = None) -> wgpu.GPUAdapter:
    """The adapter that programs run on. Raises NoAdapter, UnknownAdapter.

    name: its index in `adapters`, or a part of its name in any case, of which the first counts. None: what VARIABLE
    says, or else the best one.
    OpenGL is refused: wgpu falls back to it if Vulkan finds no driver, but it lacks features that bundles need.
    """
    native.prepare()
    name = os.environ.get(VARIABLE) if name is None else name
    adapter = _best() if name in (None, "") else _named(str(name))
    if adapter is None or adapter.info["backend_type"] == "OpenGL":
        raise NoAdapter(
            "no WebGPU adapter; install the Vulkan driver of your GPU, or Mesa's software one: "
            "apt install mesa-vulkan-drivers (see docs/troubleshooting.md)"
        )
    return adapter


def _best() -> wgpu.GPUAdapter | None:
    try:
        return wgpu.gpu.request_adapter_sync(power_preference="high-performance")
    except RuntimeError:
        return None


def _named(name: str) -> wgpu.GPUAdapter | None:
    """The adapter with this index or name; None if there is no adapter at all. Raises UnknownAdapter."""
    every = adapters()
    if name.isdecimal() and int(name) < len(every):
        return every[int(name)]
    part = "" if name.isdecimal() and len(name) < 3 else name.lower()  # "4090" is a name, "5" a wrong index
    matches = [adapter for adapter in every if part and part in adapter.info["device"].lower()]
    if matches or not every:
        return matches[0] if matches else None
    listed = ", ".join(f"{i} ({a.info['device'] or 'unnamed'})" for i, a in enumerate(every))
    raise UnknownAdapter(f"unknown adapter {name[:40]!r}; expected an index or a part of a name of: {listed}")


def open_device(
    features: Collection[str] = (), needs: Collection[str] = (), adapter: str | int | None = None
) -> wgpu.GPUDevice:
    """A device with those of FEATURES, and of wgpu's `features`, that the adapter has, and WebGPU's default limits.

    The limits are larger if `needs` includes that and the adapter has them. adapter: as for `choose`, and so are the
    errors.
    """
    chosen = choose(adapter)
    # Limits must be named: left out, wgpu-py grants the adapter's own.
    larger = LARGER_LIMITS if "larger-limits" in tiers(chosen).intersection(needs) else {}
    limits: dict[str, int | None] = {**DEFAULT_LIMITS, **larger}
    granted = sorted(chosen.features & {*features, *FEATURES.values()})
    return chosen.request_device_sync(required_limits=limits, required_features=granted)


def needs(plan: Plan, adapter: str | int | None = None) -> set[str]:
    """The tiers that a plan's kernels need in the variants for the adapter, which is that of `choose`."""
    chosen = choose(adapter)
    plan = tuning.tuned(plan, chosen.info, tiers(chosen))
    return set(plan.needs)


def tiers(of: wgpu.GPUAdapter | wgpu.GPUDevice) -> set[str]:
    """The tiers that an adapter or a device has."""
    larger = all(of.limits[name] >= least for name, least in LARGER_LIMITS.items())
    return {name for name, wgpus in FEATURES.items() if wgpus in of.features} | ({"larger-limits"} if larger else set())
