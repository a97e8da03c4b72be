"""Profiles: both clocks see which step is the slow one; runs take any size; files are checked."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import wgpu
from graphs import model, random

import intaglio
from intaglio.runtime.device import open_device
from intaglio.runtime.errors import BadBundle
from intaglio.runtime.instruments import golden, measure
from intaglio.runtime.instruments import profile as profiles
from intaglio.runtime.instruments.clock import FEATURE, MOST, Clock, Replays, Timestamps, clock
from intaglio.runtime.instruments.measure import Run, median, once, per_token, runs
from intaglio.runtime.session import Session

FIXTURE = Path(__file__).parents[2] / "fixtures" / "whisper-merged-18"

# a matrix product between two steps that are nothing beside it
TEXT = "main (float[n,256] x) => (float[n,8] y) { a = Softmax(x) b = MatMul(a, v) c = Softmax(b) y = MatMul(c, w) }"


@pytest.fixture(scope="module")
def device() -> wgpu.GPUDevice:
    made = open_device([FEATURE, "no-such-feature"])
    assert FEATURE in made.features
    return made


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> intaglio.Bundle:
    weights = {"v": random(256, 512), "w": random(512, 8)}
    return intaglio.compile(model(TEXT, weights), tmp_path_factory.mktemp("plain") / "bundle")


@pytest.fixture(scope="module")
def session(plain: intaglio.Bundle, device: wgpu.GPUDevice) -> Session:
    return plain.open(device).session()


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> intaglio.Bundle:
    return intaglio.compile(FIXTURE, tmp_path_factory.mktemp("whisper") / "bundle")


@pytest.fixture(scope="module")
def whisper(bundle: intaglio.Bundle, device: wgpu.GPUDevice) -> Session:
    return bundle.open(device).session()


def all_runs(session: Session, folder: Path, **sizes: int) -> list[Run]:
    return runs(session.plan, golden.read(folder, session.plan), sizes)


@pytest.mark.parametrize("kind", [Timestamps, Replays])
def test_both_clocks_see_the_slow_step(kind: type[Clock], plain: intaglio.Bundle, session: Session) -> None:
    (run,) = all_runs(session, plain.folder, n_n=1024)
    known = session.feed(run.program, run.inputs, run.symbols)
    session.begin(known)
    works = [partial(session.encode, "main", known, slice(i, i + 1)) for i in range(4)]
    times = median(partial(kind(session.device).times, works), 3)
    assert [s.kernel.split("_")[0] for s in session.plan.programs["main"].steps] == ["softmax", "matmul"] * 2
    assert max(times) == times[1] > 0
    assert all(t < 10 for t in times)


def test_more_works_than_queries(device: wgpu.GPUDevice) -> None:
    assert len(Timestamps(device).times([lambda pass_: None] * (MOST + 1))) == MOST + 1


def test_the_clock_is_the_best_there_is(device: wgpu.GPUDevice) -> None:
    assert clock(device).name == "timestamps"
    assert clock(open_device()).name == "replays"


def test_runs_take_any_size(plain: intaglio.Bundle, session: Session) -> None:
    (run,) = all_runs(session, plain.folder)
    assert run.symbols == {"n_n": 3} and run.inputs["x"].shape == (3, 256)
    (large,) = all_runs(session, plain.folder, n_n=7)
    assert large.inputs["x"].shape == (7, 256)
    np.testing.assert_array_equal(large.inputs["x"][:3], run.inputs["x"])
    (bare,) = runs(session.plan, [], {})
    assert bare.symbols == {"n_n": 1} and not bare.inputs["x"].any()
    assert once(session, large) > 0
    with pytest.raises(ValueError, match="unknown size m; this bundle has n_n"):
        runs(session.plan, [], {"m": 1})
    (beyond,) = all_runs(session, plain.folder, n_n=1025)
    with pytest.raises(ValueError, match="compiled for 1 to 1024"):
        session.feed(beyond.program, beyond.inputs, beyond.symbols)


def test_a_profile_of_every_program(bundle: intaglio.Bundle, whisper: Session, tmp_path: Path) -> None:
    programs = runs(whisper.plan, [], {"new_tokens": 2})
    for run in programs:
        whisper.feed(run.program, run.inputs, run.symbols)
        assert once(whisper, run) > 0
    found = measure.profile(whisper, bundle.graph, programs, "digest", 3, lambda what, done, total: None)
    assert {name: len(t.steps) for name, t in found.programs.items()} == {
        name: len(p.steps) for name, p in whisper.plan.programs.items()
    }
    assert all(t.seconds > 0 and sum(t.steps) > 0 for t in found.programs.values())
    assert found.programs["prefill"].symbols["new_tokens"] == 2
    assert found.ceilings.flops > 1e8 and found.ceilings.bytes > 1e7
    (tmp_path / "p.json").write_text(profiles.write(found))
    assert profiles.read(tmp_path / "p.json", whisper.plan) == found


def test_the_time_of_a_token(whisper: Session) -> None:
    run = next(r for r in runs(whisper.plan, [], {"past": 1}) if r.program == "step")
    whisper.feed(run.program, run.inputs, run.symbols)
    assert 0 < per_token(whisper, run, 1) < 10
    assert 0 < per_token(whisper, run, 16) < 10
    late = next(r for r in runs(whisper.plan, [], {"past": whisper.plan.symbols["past"][1]}) if r.program == "step")
    assert per_token(whisper, late, 16) > 0  # the steps end where the cache does


def test_medians() -> None:
    numbers = iter([5.0, 1.0, 2.0, 9.0])
    assert median(lambda: next(numbers), 3) == 2.0
    lists = iter([[1.0, 9.0], [2.0, 8.0], [3.0, 7.0]])
    assert median(lambda: next(lists), 3) == [2.0, 8.0]


@pytest.mark.parametrize(
    "change",
    [
        lambda p: "{",
        lambda p: "[]",
        lambda p: p.update(format="other"),
        lambda p: p.pop("ceilings"),
        lambda p: p.update(adapter=3),
        lambda p: p["programs"].pop("main"),
        lambda p: p["programs"]["main"]["steps"].pop(),
        lambda p: p["programs"]["main"]["steps"].__setitem__(0, -1.0),
        lambda p: p["programs"]["main"]["steps"].__setitem__(0, float("nan")),
        lambda p: p["programs"]["main"]["steps"].__setitem__(0, "1"),
        lambda p: p["programs"]["main"].update(symbols={}),
        lambda p: p["programs"]["main"].update(symbols={"n_n": 1.5}),
        lambda p: p["programs"]["main"].update(more=1),
        lambda p: p["ceilings"].update(flops=float("inf")),
    ],
)
def test_broken_profiles(change: Any, plain: intaglio.Bundle, tmp_path: Path) -> None:
    timing = profiles.Timing({"n_n": 3}, 0.1, (0.1,) * 4)
    whole = profiles.Profile("adapter", "cpu", "timestamps", "digest", profiles.Ceilings(1e9, 1e9), {"main": timing})
    file = tmp_path / "profile.json"
    file.write_text(profiles.write(whole))
    assert profiles.read(file, plain.plan) == whole
    data = json.loads(file.read_text())
    text = change(data)
    file.write_text(text if isinstance(text, str) else json.dumps(data))
    with pytest.raises(BadBundle, match=r"profile\.json is broken"):
        profiles.read(file, plain.plan)
