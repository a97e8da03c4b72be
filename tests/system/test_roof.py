"""The estimate of a GPU's roof: what it says of dispatches whose limits are plain, and of a small bundle."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import intaglio
from benchmarks import roof
from benchmarks.roof import CHIPS, Chip, Work
from intaglio.runtime import plan_file

ROOT = Path(__file__).parents[2]
# 1 Tflop/s and 100 GB/s; a wave of 32 lanes; 1 us to launch, 1 us for memory.
CHIP = Chip("amd", 1e12, 1e11, 1_000, 10_000, 640_000, 32, 64, 1e-6, 1e-6)
WORK = Work("a", 1_000_000, 64, 10**9, 0, {32: 1.0, 64: 1.0, 128: 1.0}, 64, 64, 1.0)


@pytest.mark.parametrize(
    "change, milliseconds",
    [
        ({}, 1),  # 1 GFLOP, and more than enough invocations
        ({"useful": 0.5}, 2),
        ({"size": 16}, 2),  # half of a wave idle
        ({"groups": 10}, 1000 * 5 / (640 * 4)),  # 4 operations of 640 invocations, for 1,000 lanes of 5 cycles
        ({"registers": 6_400}, 1000 * 5 / (100 * 4)),  # registers for 100 lanes
        ({"flops": 0, "bytes": 10**8}, 1),  # 100 MB
        ({"flops": 0, "bytes": 10**8, "shares": {64: 0.25}}, 4),
        ({"flops": 0, "bytes": 10**8, "groups": 10}, 1e8 / (640 * 64)/1e3),  # 41 KB in flight, 1 us each
    ],
)  # fmt: skip
def test_a_dispatch(change: dict, milliseconds: float) -> None:
    work = replace(WORK, **change)
    assert work.estimate(CHIP) - CHIP.launch == pytest.approx(milliseconds * 1e-3, rel=0.01)
    assert work.roof(CHIP) == pytest.approx(1e-3)


def test_a_dispatch_that_does_nothing_takes_a_launch() -> None:
    assert replace(WORK, flops=0, bytes=0, groups=1).estimate(CHIP) == CHIP.launch + CHIP.latency


def test_a_bundle(tmp_path: Path) -> None:
    """Every program on every chip, at most at the roof; a longer prompt has a higher one."""
    intaglio.compile(ROOT / "tests" / "fixtures" / "llama-q4", tmp_path / "llama")
    short, long = (list(roof.estimates(tmp_path / "llama", {}, {"new_tokens": n, "past": 0})) for n in (1, 32))
    programs = plan_file.read(tmp_path / "llama").programs
    assert [(e.program, e.chip) for e in short] == [(program, chip) for program in programs for chip in CHIPS]
    assert all(0 < e.share < 1 and e.slowest_seconds <= e.seconds for e in short + long)
    assert all(a.roof < b.roof for a, b in zip(short, long, strict=True) if a.program == "prefill")
    assert "| step | H200 |" in roof.table(short)
