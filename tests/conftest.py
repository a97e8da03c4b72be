"""Real weights for the tests that need them, as ONNX and compiled. They stay in build/ while up to date."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from intaglio.codegen import ops

assert ops  # importing it registers the kernels, without which no model is read

ROOT = Path(__file__).parents[1]
Cli = Callable[..., tuple[int, str, str]]
COMPILER = "compiler", "codegen", "templates", "runtime/plan.py", "runtime/plan_file.py", "runtime/designs_file.py"


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    """Runs a command line; gives its exit status, standard output and standard error."""
    from intaglio.__main__ import main

    def run(*arguments: object) -> tuple[int, str, str]:
        try:
            status = main([str(a) for a in arguments])
        except SystemExit as stop:
            status = int(stop.code or 0)
        out, error = capsys.readouterr()
        return status, out, error

    return run


@pytest.fixture(scope="session")
def tiny_en_export() -> Path:
    """The folder of Whisper tiny.en as ONNX that the example writes: encoder, decoder, decoder with past."""
    return export("whisper_onnx.py", "whisper-tiny.en", "encoder_model.onnx")


@pytest.fixture(scope="session")
def tiny_en_bundle(tiny_en_export: Path) -> Path:
    """tiny_en_export compiled with the defaults."""
    return compiled(tiny_en_export, "encoder_model.onnx")


@pytest.fixture(scope="session")
def smollm2_export() -> Path:
    """The folder of SmolLM2-135M-Instruct as ONNX that the example writes."""
    return export("smollm2_onnx.py", "smollm2-135m-instruct", "model.onnx")


@pytest.fixture(scope="session")
def smollm2_bundle(smollm2_export: Path) -> Path:
    """smollm2_export compiled with the defaults."""
    return compiled(smollm2_export, "model.onnx")


@pytest.fixture(scope="session")
def minilm_export() -> Path:
    """The folder of all-MiniLM-L6-v2 that the example writes."""
    return export("minilm_onnx.py", "all-minilm-l6-v2", "model.onnx")


@pytest.fixture(scope="session")
def minilm_bundle(minilm_export: Path) -> Path:
    """minilm_export compiled with the defaults."""
    return compiled(minilm_export, "model.onnx")


@pytest.fixture(scope="session")
def silero_export() -> Path:
    """The folder of Silero VAD that the example writes."""
    return export("silero_onnx.py", "silero-vad", "model.onnx")


def export(example: str, name: str, made: str) -> Path:
    """build/NAME, which the example writes, with the file `made` in it."""
    folder = ROOT / "build" / name
    if out_of_date(folder / made, sources("examples")):
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([sys.executable, ROOT / "examples" / example, folder], check=True)
    return folder


def compiled(folder: Path, model: str) -> Path:
    import intaglio

    bundle = ROOT / "build" / "test" / f"{folder.name}.bundle"
    if out_of_date(bundle / "plan.json", [folder / model, *sources(*COMPILER)]):
        bundle.parent.mkdir(parents=True, exist_ok=True)
        intaglio.compile(folder, bundle)
    return bundle


def sources(*places: str) -> list[Path]:
    """The program text in these folders and files."""
    found = [path for place in places for path in (ROOT / place, *(ROOT / place).rglob("*"))]
    return [path for path in found if path.suffix in (".py", ".jinja")]


def out_of_date(made: Path, inputs: list[Path]) -> bool:
    """make's rule: it is missing, or an input is newer."""
    return not made.exists() or made.stat().st_mtime < max(path.stat().st_mtime for path in inputs)
