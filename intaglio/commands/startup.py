"""How long a start takes, from a new process to its first result.

The cold start has an empty cache of compiled shaders; the warm start has the cache that the cold one filled. Each runs
this module in a process of its own, which prints its times as JSON.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import intaglio
from intaglio.runtime.contract import ON_DEMAND, STEP
from intaglio.runtime.progress import Progress

# The variables that name the shader cache of Mesa and of NVIDIA. The caches of other drivers cannot be cleared.
CACHES = "MESA_SHADER_CACHE_DIR", "__GL_SHADER_DISK_CACHE_PATH"


def measure(folder: Path, sizes: Mapping[str, int], allow_edited: bool, say: Progress) -> dict[str, dict[str, Any]]:
    """The times of a cold and of a warm start, as `_measured` has them. Raises OSError if one fails."""
    starts: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as cache:
        for name in "cold", "warm":
            say("starts", len(starts), 2)
            environment = {**os.environ, **dict.fromkeys(CACHES, cache)}
            request = {"folder": str(folder), "sizes": dict(sizes), "allow_edited": allow_edited}
            command = [
                sys.executable,
                "-m",
                "intaglio.commands.startup",
                json.dumps(request | {"begin": time.monotonic()}),
            ]
            done = subprocess.run(command, env=environment, capture_output=True, text=True)
            if done.returncode:
                raise ChildProcessError(f"a {name} start failed: {(done.stderr.strip().splitlines() or ['?'])[-1]}")
            starts[name] = json.loads(done.stdout)
    return starts


def _measured(folder: str, sizes: dict[str, int], allow_edited: bool, begin: float) -> dict[str, Any]:
    """Seconds of each phase, in order: `python` (with all imports), `device`, `load` (`upload` and `pipelines` at the
    same time), `session`, `warm-up`, `first` (one run of every program that leads to a first result). `cpu`:
    the CPU seconds of the pipelines, with the warm-up, in which some drivers compile them. `peak`: bytes.
    """
    from intaglio.runtime.device import needs, open_device
    from intaglio.runtime.instruments import golden
    from intaglio.runtime.instruments.measure import once, peak_memory, runs

    bundle = intaglio.load(folder, allow_edited=allow_edited)
    seconds = {"python": time.monotonic() - begin}
    opening = time.perf_counter()
    device = open_device(needs=needs(bundle.whole_plan))
    seconds["device"] = time.perf_counter() - opening
    engine = bundle.open(device)
    session = engine.session()
    first = 0.0
    for run in runs(bundle.plan, golden.read(bundle.folder, bundle.plan), sizes):
        if run.program not in {STEP, *ON_DEMAND}:
            session.feed(run.program, run.inputs, run.symbols)
            first += once(session, run)
    seconds |= engine.seconds | session.seconds | {"first": first}
    return {"seconds": seconds, "cpu": engine.cpu + session.cpu, "peak": peak_memory()}


if __name__ == "__main__":
    print(json.dumps(_measured(**json.loads(sys.argv[1]))))
