"""Contexts beyond 8,192 tokens: tiny models with a window, with scaled frequencies, and with factors for long texts."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from language_reference import LanguageReference

import intaglio

FIXTURES = Path(__file__).parents[1] / "fixtures"
CONTEXT = 32_768
LENGTH = 8_300  # tokens of the prompt


@pytest.mark.parametrize("name", ["mistral-optimum", "llama3-optimum", "phi3-long-optimum"])
def test_tokens_after_a_long_prompt(tmp_path: Path, name: str) -> None:
    folder = Path(shutil.copytree(FIXTURES / name, tmp_path / name))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 1 << 17}))
    bundle = intaglio.compile(folder, tmp_path / "bundle", max_length=CONTEXT)
    prompt = np.random.default_rng(1).integers(0, 300, LENGTH).tolist()
    ours = bundle.generate(prompt, max_tokens=3, ignore_eos=True).tokens
    assert ours == LanguageReference(folder, exact=True).choices(prompt, ours, 256)


@pytest.mark.parametrize("length, context", [(None, 2048), (300, 300)])
def test_a_model_without_configuration(tmp_path: Path, length: int | None, context: int) -> None:
    """Its inputs say that it continues texts. The graph tells everything but the end of a text."""
    shutil.copy(FIXTURES / "llama-optimum-18/model.onnx", tmp_path)
    bundle = intaglio.compile(tmp_path / "model.onnx", tmp_path / "bundle", max_length=length)
    assert bundle.plan.kind == "language" and bundle.contents.generation["context"] == context
    prompt = list(range(20))
    ours = bundle.generate(prompt, max_tokens=9).tokens
    assert ours == LanguageReference(tmp_path).greedy(prompt, 9)
    if length:
        with pytest.raises(ValueError, match="context 300"):
            bundle.generate([1] * 301)


def test_a_table_of_the_file_that_is_too_short(tmp_path: Path) -> None:
    """CodeGen's positions are a table of 512 rows, whatever the configuration says."""
    folder = Path(shutil.copytree(FIXTURES / "codegen-optimum", tmp_path / "codegen"))
    (folder / "config.json").write_text(json.dumps({"architectures": ["CodeGenForCausalLM"], "vocab_size": 303}))
    with pytest.raises(intaglio.BadModel, match=r"9000 tokens.*size 512.*--max-length") as caught:
        intaglio.compile(folder, tmp_path / "bundle", max_length=9000)
    assert len(str(caught.value)) < 300


def test_what_is_too_long(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"architectures": ["SomeForCausalLM"]}')
    shutil.copy(FIXTURES / "llama-optimum-18/model.onnx", tmp_path)
    with pytest.raises(intaglio.BadModel, match=r"--max-length is 200000; expected 1 to 131072"):
        intaglio.compile(tmp_path, tmp_path / "bundle", max_length=200_000)
