"""Progress of long work: how much of all its stages is done, and what it says of the one that it is in."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

import intaglio
from intaglio.commands import progress as lines
from intaglio.stages import COMPILING, PACKING, Stages

FIXTURES = Path(__file__).parents[1] / "fixtures"
Heard = list[tuple[str, int, int]]


def test_stages_take_their_shares() -> None:
    heard: Heard = []
    stages = Stages(lambda *what: heard.append(what), {"read": 1, "weights": 2, "end": 1})
    stages("read", 0, 0)
    stages("weights", 1_000_000, 4_000_000)
    stages("weights", 4_000_000, 4_000_000)
    stages("end", 1, 2)
    assert heard == [
        ("read", 0, 4000),
        ("weights (1 of 4 MB)", 1500, 4000),
        ("weights (4 of 4 MB)", 3000, 4000),
        ("end (1 of 2)", 3500, 4000),
    ]


def test_progress_never_goes_back() -> None:
    heard: Heard = []
    stages = Stages(lambda *what: heard.append(what), {"first": 1, "second": 1})
    for stage, done in (("first", 1), ("second", 1), ("first", 2), ("elsewhere", 1), ("second", 0), ("second", 2)):
        stages(stage, done, 2)
    assert [done for _, done, _ in heard] == [500, 1500, 2000]


@pytest.mark.parametrize("options, shares", [({}, COMPILING), ({"quantize": "q4"}, PACKING)])
def test_compiling_goes_through_all_its_stages(tmp_path: Path, options: dict[str, str], shares: dict) -> None:
    heard: Heard = []
    folder = FIXTURES / "llama-optimum-18"
    intaglio.compile(folder, tmp_path / "bundle", **options, say=lambda *what: heard.append(what))
    assert list(dict.fromkeys(what.split(" (")[0] for what, _, _ in heard)) == list(shares)
    done = [done for _, done, _ in heard]
    assert done == sorted(done) and {total for _, _, total in heard} == {1000 * sum(shares.values())}
    assert done[-1] >= 0.9 * heard[-1][2]


def test_a_bar_and_the_time_that_remains(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal, as soon as the work takes long."""
    now = iter([0.0, 1.0, 10.0, 20.0])
    monkeypatch.setattr(lines.time, "monotonic", lambda: next(now))
    stream = io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: True)
    line = lines.ProgressLine(stream)
    for done in 0, 1, 50, 1_000:
        line("transcribing", done, 36_000)
    assert stream.getvalue().split("\r\x1b[2K")[1:] == [
        "transcribing 0 %",
        "transcribing 0 %",
        "transcribing 0 % ░░░░░░░░░░░░░░░░░░░░ 1:59:50 left",
        "transcribing 2 % ░░░░░░░░░░░░░░░░░░░░ 11:40 left",
    ]


def test_a_line_in_a_log_for_each_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    """What changes in parentheses is the same work, which is told again after a while."""
    now = iter([0.0, 1.0, 11.0, 12.0])
    monkeypatch.setattr(lines.time, "monotonic", lambda: next(now))
    stream = io.StringIO()
    line = lines.ProgressLine(stream)
    for done, what in enumerate(("kernels (1 of 9)", "kernels (2 of 9)", "kernels (3 of 9)", "weights"), 1):
        line(what, done, 10)
    assert stream.getvalue() == "kernels (1 of 9)\nkernels (3 of 9) 30 %\nweights\n"
