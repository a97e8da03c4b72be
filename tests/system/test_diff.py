"""diff: what differs between two bundles is said, with its numbers, and what is equal is not."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from graphs import model, random

import intaglio
from intaglio.__main__ import main

RELU = "main (float[n,8] x) => (float[n,4] y) { product = MatMul(x, w) y = Relu(product) }"
SOFTMAX = "main (float[n,8] x) => (float[n,4] y) { product = MatMul(x, w) y = Softmax(product) }"


@pytest.fixture
def diff(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """What is said of two bundles."""

    def run(a: Path, b: Path, *options: str) -> str:
        assert main(["diff", str(a), str(b), *options]) == 0
        return capsys.readouterr().out

    return run


def bundle(folder: Path, text: str = RELU, seed: int = 0, **bind: int) -> Path:
    return intaglio.compile(model(text, {"w": random(8, 4, seed=seed)}), folder, bind=bind).folder


def rows(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()[2:] if line]


def test_equal_bundles(diff, tmp_path):
    a, b = bundle(tmp_path / "a"), bundle(tmp_path / "b")
    assert diff(a, b).splitlines() == [f"A  {a}", f"B  {b}", "no differences"]


def test_other_operators_and_kernels(diff, tmp_path):
    said = rows(diff(bundle(tmp_path / "a"), bundle(tmp_path / "b", SOFTMAX)))
    assert ["program", "main"] in said
    assert ["dispatches", "1", "2", "+100", "%"] in said
    assert ["Softmax", "0", "1"] in said
    assert not any(row[0] == "Linear" for row in said)
    assert "2 kernels only in B: matmul_8x4, softmax".split() in said
    assert any(row[0] == "scratch" for row in said) and any(row[0] == "total" for row in said)


def test_other_sizes(diff, tmp_path):
    """A size that is fixed is no symbol any more, and the memory is just what it takes."""
    said = rows(diff(bundle(tmp_path / "a"), bundle(tmp_path / "b", n=4)))
    assert ["size", "n_n", "1", "to", "1024", "-"] in said
    assert ["x", "input", "f32['n_n',", "8]", "input", "f32[4,", "8]"] in said
    assert [row[1:3] for row in said if row[0] == "input"] == [["32.8", "kB"]]
    assert [row for row in said if row[0] == "flops"] == [["flops", "65,536", "256", "-100", "%"]]


def test_other_weights(diff, tmp_path):
    (row,) = rows(diff(bundle(tmp_path / "a"), bundle(tmp_path / "b", seed=1)))
    assert row[:2] == ["weight", "files"] and row[2] != row[3]


def test_a_kernel_of_the_same_name(diff, tmp_path):
    """Its comments say where it is used: they are no difference. An edited shader is compared as it is."""
    a = bundle(tmp_path / "a")
    b = Path(shutil.copytree(a, tmp_path / "b"))
    (used,) = intaglio.load(b).plan.used.values()
    shader = b / used.file
    text = shader.read_text()
    shader.write_text("// mine\n" + text)
    assert diff(a, b).endswith("no differences\n")
    shader.write_text(text.replace("fn main", "// mine\nfn  main"))
    assert rows(diff(a, b)) == [["1", "kernel", "changed:", shader.stem]]


def test_programs_that_only_one_has(diff, tmp_path):
    whisper = intaglio.compile(Path(__file__).parents[1] / "fixtures" / "whisper-merged-18", tmp_path / "b").folder
    said = diff(bundle(tmp_path / "a"), whisper)
    steps = len(intaglio.load(whisper).plan.programs["step"].steps)
    assert "program main: only in A, 1 dispatch\n" in said
    assert f"program step: only in B, {steps} dispatches\n" in said


def test_as_json(diff, tmp_path):
    found = json.loads(diff(bundle(tmp_path / "a"), bundle(tmp_path / "b", SOFTMAX), "--json"))
    assert found["facts"]["precision"] == ["f32", "f32"]
    assert found["programs"]["main"]["operators"] == {"Linear": [1, 1], "Softmax": [0, 1]}
    assert found["kernels"]["changed"] == [] and "softmax" in found["kernels"]["only_b"]
    assert found["weights"] == {"f32 rows8": [256, 256]}
    assert found["bytes"]["weight"] == [256, 256]


def test_no_bundle(tmp_path, capsys):
    assert main(["diff", str(bundle(tmp_path / "a")), str(tmp_path)]) == 1
    assert "is not a bundle" in capsys.readouterr().err
