"""What a dry run says: which files would be taken for what."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import intaglio

FIXTURES = Path(__file__).parents[2] / "fixtures"


@pytest.fixture
def whisper(tmp_path: Path) -> Path:
    """A Whisper as hubs lay it out, in two dtypes."""
    (tmp_path / "onnx").mkdir()
    for path in (FIXTURES / "whisper-merged-18").iterdir():
        for suffix in ("", "_q4") if path.suffix == ".onnx" else ():
            shutil.copy(path, tmp_path / "onnx" / f"{path.stem}{suffix}.onnx")
        if path.suffix != ".onnx":
            shutil.copy(path, tmp_path)
    return tmp_path


def rows(text: str) -> dict[str, list[str]]:
    """The words of each line by what the line begins with."""
    return {words[0]: words[1:] for line in text.splitlines() if (words := line.split())}


def test_a_whisper(cli, whisper: Path) -> None:
    status, out, error = cli("compile", whisper, "--dtype", "decoder=q4,encoder=fp32", "--dry-run")
    assert (status, error) == (0, "")
    seen = rows(out)
    assert seen[f"{whisper}:"] == ["whisper"]
    assert seen["encoder"] == [str(whisper / "onnx/encoder_model.onnx"), "fp32", "141.3", "kB"]
    assert seen["decoder"] == [str(whisper / "onnx/decoder_model_merged_q4.onnx"), "q4", "287.2", "kB"]
    assert seen["configuration"] == [str(whisper / "config.json")]
    assert seen["tokenizer"] == [str(whisper / "tokenizer.json")]
    assert not (whisper / "bundle").exists()


def test_notes_and_what_is_missing(tmp_path: Path) -> None:
    shutil.copy(FIXTURES / "llama-optimum-18/model.onnx", tmp_path / "model.onnx")
    text = intaglio.preview(tmp_path)
    assert rows(text)["tokenizer"] == ["none"] and rows(text)[f"{tmp_path}:"] == ["language"]
    assert "note: " in text and "no config.json" in text


@pytest.mark.parametrize(
    "name, kind, files",
    [
        ("whisper-genai", "whisper", {"encoder": "encoder.onnx", "decoder": "decoder.onnx"}),
        ("gemma2-genai", "language", {"decoder": "model.onnx"}),
        ("mlp-torchscript-11", "model", {"model": "model.onnx"}),
    ],
)
def test_other_families(name: str, kind: str, files: dict[str, str]) -> None:
    seen = rows(intaglio.preview(FIXTURES / name))
    assert seen[f"{FIXTURES / name}:"] == [kind]
    assert {part: seen[part][0] for part in files} == {p: str(FIXTURES / name / file) for p, file in files.items()}


def test_a_dry_run_refuses_what_compiling_would(cli, whisper: Path) -> None:
    status, out, error = cli("compile", whisper, "--dry-run")
    assert (status, out) == (1, "") and "--dtype" in error
