"""The shaders of real models: both compilers take them, within WebGPU's default limits, and a person can read them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import readable
from bundles import shaders, whole_plan
from parity import device

import tint
from intaglio.runtime.limits import TIERS
from intaglio.runtime.pipelines import compile


def test_every_shader_passes_tint(whispers: dict[str, Path]) -> None:
    assert not tint.wrong(whispers.values())


def test_every_shader_passes_naga(whispers: dict[str, Path]) -> None:
    """Each text once, although bundles share many."""
    adapter, taken = device(*TIERS), set[bytes]()
    for bundle in whispers.values():
        kernels = whole_plan(bundle).kernels
        assert {f"{name}.wgsl" for name in kernels} == {path.name for path in shaders(bundle)}
        for name, kernel in kernels.items():
            code = (bundle / kernel.file).read_bytes()
            if code not in taken:
                compile(adapter, name, kernel, code)
            taken.add(code)


def test_every_shader_says_what_it_is(whisper: Path) -> None:
    """Title, programs with ONNX nodes, shapes, bytes and operations; no trace of the template."""
    programs = "|".join(whole_plan(whisper).programs)
    for path in shaders(whisper):
        text = path.read_text()
        title, header = text[: text.index("\n\n")].split("\n//\n", 1)
        assert re.fullmatch(r"// [A-Z].*\.", title, re.S), path.name
        assert re.search(rf"^// ({programs}), \d+ dispatch(es)?:\n//   [/\w]\S+", header, re.M), path.name
        assert re.search(r"^// writes \w+ \w+\[[^]]*\]", header, re.M), path.name
        assert re.search(r"^// at most [\d.]+ ?[kMG]?B moved, [\d.]+ ?[kMG]?FLOP a dispatch$", header, re.M), path.name
        assert "None" not in text and "{{" not in text and "{%" not in text, path.name


@pytest.mark.parametrize("unwanted", [r"[ \t]$", r"\n\n\n", r"\t", r"\(\)\)\)", r"^(?!//  +[^ ]+$).{121,}$"])
def test_every_shader_is_tidy(whisper: Path, unwanted: str) -> None:
    untidy = [path.name for path in shaders(whisper) if re.search(unwanted, path.read_text(), re.M)]
    assert not untidy


def test_nothing_is_left_of_a_template(whispers: dict[str, Path]) -> None:
    assert not readable.residue(whispers.values())


def test_layers_share_shaders(whisper: Path) -> None:
    """A kernel's identity is its text: equal layers are one shader, and no two files hold the same code."""
    plan = whole_plan(whisper)
    codes = [re.sub(r"(?m)^//.*\n", "", path.read_text()) for path in shaders(whisper)]
    assert len(set(codes)) == len(codes) == len(plan.kernels)
    steps = plan.programs["encode"].steps
    assert len({s.kernel for s in steps}) < len(steps)
