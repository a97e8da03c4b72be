"""Step by step: the first wrong step is named, with what it read; what heals is not; strangers' numbers are checked."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from parity import device

import intaglio
from intaglio.runtime.contract import ON_DEMAND
from intaglio.runtime.engine import Engine
from intaglio.runtime.errors import BadBundle
from intaglio.runtime.instruments import golden
from intaglio.runtime.instruments.golden import Slice
from intaglio.runtime.instruments.verify import StepResult, steps
from intaglio.runtime.plan import ACCESS, Plan

FIXTURE = Path(__file__).parents[2] / "fixtures" / "whisper-merged-18"
SAMPLERS = {"WhisperToken"}  # what no numpy function computes, and no ONNX node


@pytest.fixture(scope="module")
def whisper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return intaglio.compile(FIXTURE, tmp_path_factory.mktemp("whisper") / "bundle").folder


@pytest.fixture
def edited(whisper: Path, tmp_path: Path) -> Path:
    """A copy to plant something wrong in."""
    return shutil.copytree(whisper, tmp_path / "edited")


def found(bundle: Path, tolerance: float | None = None) -> list[StepResult]:
    opened = intaglio.load(bundle)
    session = Engine(bundle, replace(opened.plan, tunings=()), device=device(), allow_edited=True).session()
    return list(steps(session, opened.graph, golden.read(bundle, opened.plan), tolerance))


def test_every_step_but_sampling_is_compared(whisper: Path) -> None:
    opened, results = intaglio.load(whisper), found(whisper)
    assert {r.verdict for r in results} <= {"ok", "rough"}
    assert not any(r.inputs for r in results)
    runs = [check.program for check in golden.read(whisper, opened.plan)]
    assert set(runs) == opened.plan.programs.keys() - ON_DEMAND  # no export has the weights of attention as outputs
    for check, program in enumerate(runs):
        compared = [r.step for r in results if r.worst.check == check]
        last = {work.operation: i for i, work in enumerate(opened.graph.work[program])}  # where its value is whole
        assert compared == [i for i in last.values() if opened.graph.operation(program, i).op not in SAMPLERS]


@pytest.mark.parametrize(
    "kernel",
    [
        "conv1d_400x408_mul",
        "layernorm_32_encode",
        "matmul_32x64_gelu_encode",
        "attention_16_prefill_k_2xnew_tokens_pastx16",
        "embedding_32_add_prefill",
        "matvec_layernorm_32x96",
    ],
)
def test_a_planted_error_is_found(edited: Path, kernel: str) -> None:
    """Whatever a shader stores becomes 1.25 times as large."""
    plan = intaglio.load(edited).plan
    file = edited / plan.kernels[kernel].file
    wrong, count = re.subn(r"(\] = |, )value(\)?;)", r"\1value * 1.25\2", file.read_text())
    assert count >= 1
    file.write_text(wrong)
    results = found(edited)
    first = next(r for r in results if r.verdict == "wrong")
    program = next(name for name, p in plan.programs.items() if any(s.kernel == kernel for s in p.steps))
    step = next(i for i, s in enumerate(plan.programs[program].steps) if s.kernel == kernel)
    assert (first.kernel, first.worst.program, first.step) == (kernel, program, step)
    assert first.nodes and first.worst.value == pytest.approx(1.25 * first.worst.expected, rel=1e-2)
    before = results[: results.index(first)]
    assert all(r.verdict != "wrong" and not r.inputs for r in before)


def test_what_a_wrong_step_read(edited: Path) -> None:
    """gelu(x w + b), whose worst element depends on a row of x, a row of the packed w, and an element of b."""
    file = edited / "kernels" / "matmul_32x64_gelu_encode.wgsl"
    file.write_text(file.read_text().replace("return 0.5 * x", "return 0.51 * x"))
    wrong = next(r for r in found(edited) if r.verdict == "wrong")
    x, weight, bias = wrong.inputs
    assert (x.name, x.type, weight.type, bias.type) == ("x", "f32[1,50,32]", "f32[64,32]", "f32[64]")
    assert x.range.low < x.near.low < x.near.high < x.range.high
    assert weight.near is None and bias.near.low == bias.near.high
    assert bias.range.low <= bias.near.low <= bias.range.high
    row, column = wrong.worst.index[1:]
    with np.errstate(all="ignore"):
        assert 0 <= row < 50 and 0 <= column < 64
    assert wrong.right.low < wrong.wrote.high and not wrong.wrote.odd


def test_numbers_that_are_none_are_found(edited: Path) -> None:
    file = edited / "kernels" / "layernorm_32_encode.wgsl"
    text = file.read_text()
    file.write_text(text.replace("/ 32.0 + 1e-05", "/ 32.0 - 9999.0 + 1e-05"))
    assert file.read_text() != text
    wrong = next(r for r in found(edited) if r.verdict == "wrong")
    assert wrong.kernel == "layernorm_32_encode" and wrong.worst.error == np.inf and wrong.wrote.odd


def logarithm(plan: Plan) -> int:
    """The step of the spectrogram that takes the logarithm."""
    return next(i for i, step in enumerate(plan.programs["mel"].steps) if "_log_" in step.kernel)


def test_what_heals_is_rough(whisper: Path) -> None:
    """A step is not blamed for an error that reaches no output: here the expected values of an inner one are wrong."""
    opened = intaglio.load(whisper)
    session = Engine(whisper, opened.plan, device=device()).session()
    mel, *rest = golden.read(whisper, opened.plan)
    step = logarithm(opened.plan) + 1
    place = next(p for p in mel.steps if p[0] == step)
    shifted = Slice(mel.steps[place].values + 1, mel.steps[place].at)
    results = list(steps(session, opened.graph, [replace(mel, steps={**mel.steps, place: shifted}), *rest]))
    assert [r.verdict for r in results if r.step == step and r.worst.check == 0] == ["rough"]
    assert all(r.verdict != "wrong" for r in results)


def test_doubtful_steps_are_named(whisper: Path) -> None:
    """Two that have no value to compare, and the logarithm, which is rough by itself."""
    opened = intaglio.load(whisper)
    session = Engine(whisper, opened.plan, device=device()).session()
    mel = golden.read(whisper, opened.plan)[0]
    log = logarithm(opened.plan)
    few = {p: s for p, s in mel.steps.items() if p[0] not in (log + 3, log + 4)}
    few |= {p: Slice(s.values + 1, s.at) for p, s in few.items() if p[0] >= log + 5}
    results = list(steps(session, opened.graph, [replace(mel, steps=few)]))
    wrong = next(r for r in results if r.verdict == "wrong")
    assert (wrong.step, wrong.doubtful) == (log + 5, (log, log + 3, log + 4))


def test_a_tolerance_is_in_proportion(whisper: Path) -> None:
    results = found(whisper, 1e-9)
    assert any(r.verdict == "wrong" for r in results)
    assert all(r.worst.tolerance >= 1e-9 for r in results)
    assert any(r.worst.tolerance > 2e-9 for r in results)


@pytest.mark.parametrize("place", [(0, 99), (99, 0)])
def test_values_for_steps_that_are_not_there(whisper: Path, place: tuple[int, int]) -> None:
    opened = intaglio.load(whisper)
    session = Engine(whisper, opened.plan, device=device()).session()
    mel = golden.read(whisper, opened.plan)[0]
    check = replace(mel, outputs={}, steps={place: next(iter(mel.steps.values()))})
    assert not list(steps(session, opened.graph, [check]))


def test_values_that_do_not_fit(whisper: Path) -> None:
    opened = intaglio.load(whisper)
    session = Engine(whisper, opened.plan, device=device()).session()
    mel = golden.read(whisper, opened.plan)[0]
    far = {place: Slice(s.values, s.at + 10**6) for place, s in mel.steps.items()}
    with pytest.raises(BadBundle, match="golden"):
        list(steps(session, opened.graph, [replace(mel, steps=far)]))


def test_operands_beyond_their_buffer(edited: Path) -> None:
    """graph.json is a stranger's too: what it says of offsets is checked before anything is read."""
    opened = intaglio.load(edited)
    session = Engine(edited, opened.plan, device=device()).session()
    work = opened.graph.work["mel"]
    last = work[0].operands[-1]
    moved = replace(work[0], operands=(*work[0].operands[:-1], replace(last, offset=10**9)))
    graph = replace(opened.graph, work={**opened.graph.work, "mel": (moved, *work[1:])})
    with pytest.raises(BadBundle, match="is too short for elements"):
        list(steps(session, graph, golden.read(edited, opened.plan)))


def test_readers(whisper: Path) -> None:
    """encode: every step but those that write outputs and states is read by a later one."""
    opened = intaglio.load(whisper)
    for program, described in opened.plan.programs.items():
        for i, readers in enumerate(opened.graph.readers(opened.plan, program)):
            step = described.steps[i]
            written = [
                b for b, a in zip(step.buffers, opened.plan.kernels[step.kernel].access, strict=True) if ACCESS[a].write
            ]
            kept = any(opened.plan.buffers[b].kind in ("output", "state") for b in written)
            assert readers or kept
            assert all(r > i for r in readers)
