"""How long a process takes from its start to a first result, in processes of their own: with the driver's cache of
compiled shaders empty (cold), and with what the cold one left there (warm).

Run as a module, it is such a process: it prints what it measured as JSON.
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
from intaglio.runtime.progress import Progress

# Where drivers keep shaders: Mesa's, and NVIDIA's. Others have no such variable, and are as warm as they are.
CACHES = "MESA_SHADER_CACHE_DIR", "__GL_SHADER_DISK_CACHE_PATH"
LATER = "step"  # the program that no first result needs


def measure(folder: Path, sizes: Mapping[str, int], allow_edited: bool, say: Progress) -> dict[str, dict[str, Any]]:
    """What `_measured` tells of a cold and of a warm start. Raises OSError where one fails."""
    found: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as cache:
        for name in "cold", "warm":
            say("starts", len(found), 2)
            environment = {**os.environ, **dict.fromkeys(CACHES, cache)}
            told = {"folder": str(folder), "sizes": dict(sizes), "allow_edited": allow_edited}
            command = [
                sys.executable,
                "-m",
                "intaglio.commands.startup",
                json.dumps(told | {"begin": time.monotonic()}),
            ]
            done = subprocess.run(command, env=environment, capture_output=True, text=True)
            if done.returncode:
                raise ChildProcessError(f"a {name} start failed: {(done.stderr.strip().splitlines() or ['?'])[-1]}")
            found[name] = json.loads(done.stdout)
    return found


def _measured(folder: str, sizes: dict[str, int], allow_edited: bool, begin: float) -> dict[str, Any]:
    """Seconds, one after the other: `python` with all imports, `device`, `load` (weights and pipelines at the same
    time, in `upload` and `pipelines`), `session`, `warm-up`, and `first`, a run of what leads to a first result.
    `peak`: bytes.
    """
    from intaglio.runtime.device import needs, open_device
    from intaglio.runtime.instruments.measure import once, peak_memory, runs
    from intaglio.runtime.instruments.verify import golden

    bundle = intaglio.load(folder, allow_edited=allow_edited)
    seconds = {"python": time.monotonic() - begin}
    opening = time.perf_counter()
    device = open_device(needs=needs(bundle.plan))
    seconds["device"] = time.perf_counter() - opening
    engine = bundle.open(device)
    session = engine.session()
    first = 0.0
    for run in runs(bundle.plan, golden(bundle.folder, bundle.plan), sizes):
        if run.program != LATER:
            session.feed(run.program, run.inputs, run.symbols)
            first += once(session, run)
    return {"seconds": seconds | engine.seconds | session.seconds | {"first": first}, "peak": peak_memory()}


if __name__ == "__main__":
    print(json.dumps(_measured(**json.loads(sys.argv[1]))))
