"""Broken and hostile models, thousands of them: each is refused by a typed error or gives the right numbers."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import fuzz
import pytest

COUNTS = {"everything": 700, "more": 700, "mlp-torchscript-11": 700, "cnn-dynamo-18": 300}
EXPORTS = {"llama-optimum-18": 40, "whisper-merged-18": 40}
DEADLINE = 900  # seconds for all mutants of a victim


@pytest.fixture(scope="module")
def fuzzers() -> Iterator[dict[str, subprocess.Popen[str]]]:
    """A process for each victim, all at once: what does not end, or dies, is seen from outside."""
    command = [sys.executable, str(Path(fuzz.__file__))]
    with tempfile.TemporaryFile("w") as errors:
        started = {
            victim: subprocess.Popen(
                [*command, victim, "0", str(count)], stdout=subprocess.PIPE, stderr=errors, text=True
            )
            for victim, count in (COUNTS | EXPORTS).items()
        }
        yield started
        for process in started.values():
            process.kill()
            process.communicate()


@pytest.mark.parametrize("victim, count", (COUNTS | EXPORTS).items())
def test_mutants(victim: str, count: int, fuzzers: dict[str, subprocess.Popen[str]]) -> None:
    output, _ = fuzzers[victim].communicate(timeout=DEADLINE)
    results = [json.loads(line) for line in output.splitlines()]
    assert len(results) == count and not fuzzers[victim].returncode, f"mutant {len(results)} ends the process"
    assert not [r for r in results if r["fate"] == "broken"]
    fates = Counter(r["fate"] for r in results)
    assert fates["refused"] and fates["compiled"] and (fates["equal"] or victim in EXPORTS), fates


@pytest.mark.parametrize("victim", COUNTS | EXPORTS)
def test_the_victims_are_well(victim: str, tmp_path: Path) -> None:
    assert fuzz.fate(fuzz.victims()[victim], tmp_path, run=True) == ("compiled" if victim in EXPORTS else "equal")


@pytest.mark.parametrize(
    "name, stub, why",
    [
        ("graph_of", lambda *given: 1 / 0, "ZeroDivisionError"),
        ("onnxruntime_outputs", lambda *given: {"probabilities": 0, "label": 0}, "AttributeError"),
        ("graph_of", lambda *given: time.sleep(60), "it took more than 1 s"),
    ],
)
def test_broken_models_are_noticed(monkeypatch, tmp_path: Path, name: str, stub: object, why: str) -> None:
    """The fuzzer itself: an error of no type of ours, a result unlike onnxruntime's, and what does not end."""
    monkeypatch.setattr(fuzz, "MUTATIONS", [lambda content, dice: content])
    monkeypatch.setattr(fuzz, "SECONDS", 1)
    monkeypatch.setattr(fuzz, name, stub)
    before = signal.signal(signal.SIGALRM, fuzz.overdue)
    try:
        told = fuzz.attempt("mlp-torchscript-11", 0, tmp_path)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert told["fate"] == "broken" and why in told["why"]
