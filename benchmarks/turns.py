"""Engines take turns, workload by workload, in rounds; each measurement is a process of its own.

Every engine starts the first round of a workload with empty caches of drivers: that gives its cold start, and fills the
caches for the rounds that count.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import adapter, prompts, vulkan_layer
from benchmarks.engines import ENGINES
from benchmarks.models import ROOT, TEXT, Models
from benchmarks.workloads import WORKLOADS

TIMEOUT = 900  # seconds of a measurement

Result = dict[str, Any]  # what benchmarks.measure writes


@dataclass
class Turns:
    """cold: workload -> engine -> the result of the first round. results: the same for each round that counts.

    skipped: workload -> engine -> why it was left out.
    """

    models: Models
    adapter: adapter.Adapter
    cold: dict[str, dict[str, Result]] = field(default_factory=dict)
    results: dict[str, dict[str, list[Result]]] = field(default_factory=dict)
    skipped: dict[str, dict[str, str]] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        return self.models.made / "run"

    def run(self, workloads: list[str], engines: list[str], rounds: int, quick: bool) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        for workload in workloads:
            self.cold[workload], self.skipped[workload] = {}, {}
            able = [engine for engine in engines if WORKLOADS[workload][0] in ENGINES[engine].models]
            self.results[workload] = {engine: [] for engine in able}
        for turn in range(rounds + 1):
            for workload in workloads:
                for engine in self.results[workload]:
                    if engine not in self.skipped[workload] and turn <= self._most(engine, rounds):
                        self._turn(turn, workload, engine, quick)

    def numbers(self) -> dict[tuple[str, str], np.ndarray]:
        """What is to be compared, by workload and engine."""
        files = {(w, e): self._place(w, e) / "rows.npy" for w, engines in self.results.items() for e in engines}
        return {key: np.load(file) for key, file in files.items() if file.exists()}

    def _turn(self, turn: int, workload: str, engine: str, quick: bool) -> None:
        size = "start" if not turn else "quick" if quick else "slow" if self._slow(engine) else "full"
        result = self._measure(workload, engine, size)
        print(f"round {turn}: {workload} by {engine}: {result.get('skipped', 'measured')}", flush=True)
        if "skipped" in result:
            self.skipped[workload][engine] = result["skipped"]
        elif turn:
            self.results[workload][engine].append(result)
        else:
            self.cold[workload][engine] = result

    def _measure(self, workload: str, engine: str, size: str) -> Result:
        folder = self._place(workload, engine)
        try:
            environment = adapter.environment(ENGINES[engine].needs, self.adapter, self.models.made / "layer")
        except vulkan_layer.NoLayer as why:
            return {"skipped": str(why)}
        environment = os.environ | environment | adapter.caches(folder / "caches")
        job = {
            "engine": engine,
            "workload": workload,
            "size": size,
            "build": str(self.models.build),
            "square": self.models.square,
            "recording": str(ROOT / "examples" / "jfk.wav"),
            "tokens": self._tokens if WORKLOADS[workload][0].startswith("smollm2") else [],
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

    @cached_property
    def _tokens(self) -> list[int]:
        """Of the text that prompts are cut from."""
        return prompts.tokens(TEXT, self.models.tokenizer)

    def _place(self, workload: str, engine: str) -> Path:
        return self.folder / f"{workload}-{engine}"

    def _slow(self, engine: str) -> bool:
        return ENGINES[engine].slow and self.adapter.kind == "CPU"

    def _most(self, engine: str, rounds: int) -> int:
        return 1 if self._slow(engine) else rounds
