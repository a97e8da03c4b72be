"""Real weights for the tests that need them: tiny.en as ONNX, and compiled. Both stay in build/ while up to date."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
COMPILER = "compiler", "codegen", "templates", "runtime/plan.py"


@pytest.fixture(scope="session")
def tiny_en_export() -> Path:
    """The folder of Whisper tiny.en as ONNX that the example writes: encoder, decoder, decoder with past."""
    folder = ROOT / "build" / "whisper-tiny.en"
    if out_of_date(folder / "encoder_model.onnx", sources("examples")):
        shutil.rmtree(folder, ignore_errors=True)
        example = ROOT / "examples" / "whisper_onnx.py"
        subprocess.run([sys.executable, example, folder, "--model", "tiny.en"], check=True)
    return folder


@pytest.fixture(scope="session")
def tiny_en_bundle(tiny_en_export: Path) -> Path:
    """tiny_en_export compiled with the defaults."""
    import intaglio

    bundle = ROOT / "build" / "test" / "whisper-tiny.en.bundle"
    if out_of_date(bundle / "plan.json", [tiny_en_export / "encoder_model.onnx", *sources(*COMPILER)]):
        bundle.parent.mkdir(parents=True, exist_ok=True)
        intaglio.compile(tiny_en_export, bundle)
    return bundle


def sources(*places: str) -> list[Path]:
    """The program text in these folders and files."""
    found = [path for place in places for path in (ROOT / place, *(ROOT / place).rglob("*"))]
    return [path for path in found if path.suffix in (".py", ".jinja")]


def out_of_date(made: Path, inputs: list[Path]) -> bool:
    """make's rule: it is missing, or an input is newer."""
    return not made.exists() or made.stat().st_mtime < max(path.stat().st_mtime for path in inputs)
