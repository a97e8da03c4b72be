"""Intaglio and other engines side by side, in one run: `python -m benchmarks`, or `make bench`."""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np

from benchmarks import adapter, agreement, ceilings, report
from benchmarks.engines import ENGINES
from benchmarks.models import ROOT, Models, prepare
from benchmarks.turns import Turns
from benchmarks.workloads import WORKLOADS

LARGE, SMALL = 4096, 512  # rows of square matrices, for GPUs and for software adapters
# Workload -> options of `intaglio run`, to measure it as a user sees it.
USER = {
    "transcribe": ["--audio", "examples/jfk.wav"],
    "smollm2-f32": ["--prompt", "The capital of France is", "--max-tokens", "16"],
    "smollm2-q4": ["--prompt", "The capital of France is", "--max-tokens", "16"],
}


def main() -> int:
    options = _options()
    gpu = adapter.found()
    models = Models(ROOT / "build", SMALL if gpu.kind == "CPU" else LARGE)
    where = f"{gpu.name}, {gpu.driver}, {os.cpu_count()} cores, {platform.machine()}"
    print(f"adapter: {where}", flush=True)
    prepare(models, {WORKLOADS[name][0] for name in options.workload}, options.only)
    turns, before = Turns(models, gpu), ceilings.measured()
    turns.run(options.workload, options.only, options.rounds, options.quick)
    after = ceilings.measured()
    numbers, divergences, wrong = turns.numbers(), {}, []
    if agreement.QUANTIZED in options.workload:
        reference = np.load(models.reference)
        divergences = agreement.divergences(numbers, reference)
        wrong = agreement.absurd(divergences, reference)
    results = {
        "adapter": where,
        "ceilings": asdict(before | after),
        "disagreements": agreement.disagreements(turns.results, numbers, agreement.TOLERANCES) + wrong,
        "divergences": divergences,
        "user": _users(models, [name for name, of in turns.results.items() if of.get(report.OURS)]),
        "skipped": turns.skipped,
        "cold": turns.cold,
        "results": turns.results,
    }
    print(f"\n{report.markdown(results)}\n")
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(results, indent=1) + "\n")
    report.chart(report.rows(turns.results, turns.cold), where, options.chart)
    print(f"{options.json}, {options.chart}")
    return 1 if results["disagreements"] else 0


def _users(models: Models, workloads: list[str]) -> dict[str, dict[str, float]]:
    """What `intaglio run` takes, by workload: wall and cpu in seconds, peak in bytes."""
    users = {}
    for name in (name for name in workloads if name in USER):
        run = [sys.executable, "-m", "intaglio", "run", models.bundle(WORKLOADS[name][0]), *USER[name]]
        command = [sys.executable, "-m", "benchmarks.user", *run]
        done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        users[name] = json.loads(done.stdout)
    return users


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", metavar="ENGINE", nargs="+", choices=ENGINES, default=list(ENGINES))
    parser.add_argument("--workload", metavar="NAME", nargs="+", choices=WORKLOADS, default=list(WORKLOADS))
    parser.add_argument("--rounds", metavar="N", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="a run in each round, and few tokens")
    parser.add_argument("--json", metavar="FILE", type=Path, default=ROOT / "build" / "benchmark" / "results.json")
    parser.add_argument("--chart", metavar="FILE", type=Path, default=ROOT / "build" / "benchmark" / "chart.png")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
