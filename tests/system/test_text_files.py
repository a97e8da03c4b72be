"""Files of a model that no bundle could use are refused before one is written, with what to do."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import intaglio

FIXTURES = Path(__file__).parents[1] / "fixtures"
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 2128466\n"


def refusal(source: Path, folder: Path) -> str:
    with pytest.raises(intaglio.BadModel) as error:
        intaglio.compile(source, folder / "bundle")
    assert not (folder / "bundle").exists() and len(str(error.value)) < 400
    return str(error.value)


@pytest.mark.parametrize(
    "fixture, name",
    [
        ("llama-optimum-18", "tokenizer.json"),
        ("llama-optimum-18", "config.json"),
        ("llama-optimum-18", "model.onnx"),
        ("whisper-merged-18", "tokenizer.json"),
        ("whisper-merged-18", "encoder_model.onnx"),
    ],
)
def test_a_pointer_of_git(tmp_path: Path, fixture: str, name: str) -> None:
    source = shutil.copytree(FIXTURES / fixture, tmp_path / "model")
    (source / name).write_text(POINTER)
    assert f"{name} is a Git LFS pointer" in (why := refusal(source, tmp_path)) and "git lfs pull" in why


@pytest.mark.parametrize(
    "name, content, facts",
    [
        ("tokenizer.json", "{}", "tokenizer.json is broken"),
        ("chat_template.jinja", "{% if %}", "chat_template.jinja is broken"),
        ("chat_template.jinja", b"\xff\xfe", "chat_template.jinja is broken"),
    ],
)
def test_a_broken_file(tmp_path: Path, name: str, content: str | bytes, facts: str) -> None:
    source = shutil.copytree(FIXTURES / "llama-optimum-18", tmp_path / "model")
    (source / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    assert facts in refusal(source, tmp_path)


def test_an_end_token_that_does_not_exist(tmp_path: Path) -> None:
    source = shutil.copytree(FIXTURES / "llama-optimum-18", tmp_path / "model")
    generation = json.loads((source / "generation_config.json").read_text()) | {"eos_token_id": [2, 50_257]}
    (source / "generation_config.json").write_text(json.dumps(generation))
    why = refusal(source, tmp_path)
    assert "50257" in why and "303 tokens" in why and "eos_token_id" in why
