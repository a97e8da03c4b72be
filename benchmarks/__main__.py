"""Intaglio and other engines side by side, in one run: `python -m benchmarks`, or `make bench`.

Every measurement is a process of its own; engines take turns, workload by workload, in several rounds. A first round,
which is not counted, fills the caches that drivers keep on disk.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import adapter, report
from benchmarks.engines import DAWN, ENGINES
from benchmarks.models import ROOT, Models, prepare
from benchmarks.workloads import WORKLOADS

LARGE, SMALL = 4096, 512  # rows of square matrices, for GPUs and for software adapters
# Of the largest difference from our numbers. Four bits are rounded differently by every engine.
TOLERANCES = {"encode": 1e-3, "transcribe": 0.0, "smollm2-f32": 2e-3, "matmul": 1e-3, "matvec": 2e-2}
TIMEOUT = 900  # seconds of a measurement


def main() -> int:
    options = _options()
    found = adapter.found()
    square = SMALL if found.kind == "CPU" else LARGE
    models = Models(ROOT / "build", square)
    where = f"{found.name}, {found.driver}, {os.cpu_count()} cores, {platform.machine()}"
    print(f"adapter: {where}", flush=True)
    prepare(models, {WORKLOADS[name][0] for name in options.workload}, options.only)
    folder = models.made / "run"
    shutil.rmtree(folder, ignore_errors=True)
    results: dict[str, dict[str, list[dict[str, Any]]]] = {w: {e: [] for e in options.only} for w in options.workload}
    skipped: dict[tuple[str, str], str] = {}
    for turn in range(options.rounds + 1):
        for workload in options.workload:
            for engine in (e for e in options.only if (workload, e) not in skipped):
                size = "full" if turn and not options.quick else "quick"
                result = _measure(folder / f"{workload}-{engine}", engine, workload, size, models, found)
                print(f"round {turn}: {workload} by {engine}: {result.get('skipped', 'measured')}", flush=True)
                if "skipped" in result:
                    skipped[workload, engine] = result["skipped"]
                elif turn:
                    results[workload][engine].append(result)
    rows, peaks = report.rows(results), report.peaks(results)
    numbers = {
        (w, e): np.load(file)
        for w in results
        for e in results[w]
        if (file := folder / f"{w}-{e}" / "rows.npy").exists()
    }
    wrong = report.disagreements(results, numbers, TOLERANCES)
    print("\n".join(["", report.table(rows), "", report.memory(peaks), ""]))
    for (workload, engine), why in skipped.items():
        print(f"left out: {workload} by {engine}: {why}")
    print("\n".join(wrong) if wrong else "all engines agree")
    told = {"adapter": where, **report.summary(rows, peaks), "disagreements": wrong, "results": results}
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(told, indent=1) + "\n")
    report.chart(rows, where, options.chart)
    print(f"{options.json}, {options.chart}")
    return 1 if wrong else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.splitlines()[0])
    parser.add_argument("--only", metavar="ENGINE", nargs="+", choices=ENGINES, default=list(ENGINES))
    parser.add_argument("--workload", metavar="NAME", nargs="+", choices=WORKLOADS, default=list(WORKLOADS))
    parser.add_argument("--rounds", metavar="N", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="a run each, and few tokens")
    parser.add_argument("--json", metavar="FILE", type=Path, default=ROOT / "build" / "benchmark" / "results.json")
    parser.add_argument("--chart", metavar="FILE", type=Path, default=ROOT / "build" / "benchmark" / "chart.png")
    return parser.parse_args()


def _measure(
    folder: Path, engine: str, workload: str, size: str, models: Models, found: adapter.Adapter
) -> dict[str, Any]:
    """What benchmarks.measure says of one measurement, or {"skipped": why}."""
    environment = dict(os.environ)
    if engine in DAWN and found.lavapipe:
        try:
            environment |= adapter.layer(models.made / "layer")
        except adapter.NoLayer as why:
            return {"skipped": str(why)}
    folder.mkdir(parents=True, exist_ok=True)
    job = {
        "engine": engine,
        "workload": workload,
        "size": size,
        "build": str(models.build),
        "square": models.square,
        "recording": str(ROOT / "examples" / "jfk.wav"),
        "text": str(ROOT / "compiler" / "text.txt"),
        "tokenizer": str(models.language / "tokenizer.json"),
        "began": time.time(),
    }
    (folder / "job.json").write_text(json.dumps(job))
    command = [sys.executable, "-m", "benchmarks.measure", folder / "job.json"]
    try:
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        return {"skipped": f"it took more than {TIMEOUT} s"}
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"it ended with status {done.returncode}"]
        return {"skipped": lines[-1]}
    return json.loads((folder / "result.json").read_text())


if __name__ == "__main__":
    sys.exit(main())
