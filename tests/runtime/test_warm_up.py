"""Further devices that compile while a session of Mesa's software adapter warms up."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections import deque
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from bundles import whole_plan
from parity import device

from intaglio.runtime import warm_up

MESA, GPU = {"adapter_type": "CPU", "vendor_id": 0x10005}, {"adapter_type": "DiscreteGPU", "vendor_id": 0x10005}
# Leaves the kernels of a bundle in the cache that the environment names: those of helpers, or of a session.
LEAVE = """
import sys, time
from collections import deque
from pathlib import Path
import intaglio
from intaglio.runtime import warm_up
engine = intaglio.load(Path(sys.argv[1])).engine
if sys.argv[2] == "helper":
    warm_up._help(engine.device, engine.plan, engine.pipelines, deque(engine.plan.possible))
else:
    warm_up._HELPERS = 0
    engine.session()
time.sleep(0.5)  # Mesa writes the cache in a thread of its own
"""


def left(folder: Path, who: str, cache: Path) -> set[Path]:
    environment = {**os.environ, "MESA_SHADER_CACHE_DIR": str(cache), "MESA_DISK_CACHE_MULTI_FILE": "1"}
    subprocess.run([sys.executable, "-c", LEAVE, str(folder), who], env=environment, check=True)
    return {path for path in cache.rglob("*") if path.is_file() and path.name != "index"}


@pytest.mark.skipif(not warm_up._helpers(device()), reason="not Mesa's software adapter, or one core")
def test_a_session_finds_what_further_devices_compiled(small_bundle: Path, tmp_path: Path):
    helped = left(small_bundle, "helper", tmp_path)
    assert len(helped) >= len(whole_plan(small_bundle).used)
    assert left(small_bundle, "session", tmp_path) == helped


def test_only_a_long_warm_up_is_helped(small_bundle: Path, monkeypatch: pytest.MonkeyPatch):
    help_came, lists = threading.Event(), list[deque[Any]]()
    monkeypatch.setattr(warm_up, "_helpers", lambda _: 1)
    monkeypatch.setattr(warm_up, "_help", lambda *of: (lists.append(of[-1]), help_came.set()))
    plan, none = whole_plan(small_bundle), dict[str, Any]()
    warm_up.interruptible(lambda: None, device(), plan, none)
    assert not help_came.is_set()
    warm_up.interruptible(lambda: help_came.wait(60) or pytest.fail("no help came"), device(), plan, none)
    assert lists == [deque()]  # what nobody took before the end is dropped


def test_a_helper_that_fails_harms_nobody(small_bundle: Path, monkeypatch: pytest.MonkeyPatch):
    failed = threading.Event()

    def fail(*_: Any) -> None:
        failed.set()
        raise RuntimeError("no further device")

    monkeypatch.setattr(warm_up, "_helpers", lambda _: 1)
    monkeypatch.setattr(warm_up, "_help", fail)
    warm_up.interruptible(lambda: failed.wait(60), device(), whole_plan(small_bundle), {})
    assert failed.is_set()


@pytest.mark.parametrize(
    "info, cores, helpers",
    [(MESA, 1, 0), (MESA, 2, 1), (MESA, 64, 3), (GPU, 64, 0), (MESA | {"vendor_id": 0x1AE0}, 64, 0)],
)
def test_gpus_get_no_further_device(info: dict[str, Any], cores: int, helpers: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    assert warm_up._helpers(SimpleNamespace(adapter_info=info)) == helpers
