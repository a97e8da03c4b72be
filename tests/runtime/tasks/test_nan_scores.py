"""Scores that are NaN end a text with one error, after the tokens before them; they are no words of the model."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
import soundfile
from onnx import numpy_helper

import intaglio
from intaglio.__main__ import main

FIXTURES = Path(__file__).parents[2] / "fixtures"


def broken(source: Path, folder: Path, file: str, weight: str, reader: str = "", row: int | None = None) -> Path:
    """A copy of a fixture with NaN in a weight, or in a row of it, as the operator `reader` reads it."""
    shutil.copytree(source, folder)
    model = onnx.load(folder / file)
    (right,) = (w for w in model.graph.initializer if w.name == weight)
    array = numpy_helper.to_array(right).copy()
    array[... if row is None else row] = np.nan
    model.graph.initializer.append(numpy_helper.from_array(array, "broken"))
    for node in model.graph.node:
        if reader in ("", node.op_type):
            node.input[:] = ["broken" if name == weight else name for name in node.input]
    onnx.save(model, folder / file)
    return folder


def test_the_tokens_before_them_come_first(tmp_path: Path) -> None:
    """The embedding of a token is NaN that an answer has, and that the prompt and what is before it lack."""
    llama, prompt = FIXTURES / "llama-optimum-18", [5, 9, 300]
    tokens = intaglio.compile(llama, tmp_path / "right").generate(prompt, max_tokens=30, ignore_eos=True).tokens
    last = next(i for i in range(1, 30) if tokens[i] not in (*prompt, *tokens[:i]))
    wrong = broken(llama, tmp_path / "model", "model.onnx", "model.embed_tokens.weight", "Gather", tokens[last])
    bundle = intaglio.compile(wrong, tmp_path / "bundle")
    stream, arrived = bundle.generate(prompt, stream=True, ignore_eos=True), []
    with pytest.raises(intaglio.NanScores, match=f"scores of token {last + 2} are NaN; `intaglio verify BUNDLE`"):
        for piece in stream:
            arrived += piece.tokens
    assert arrived == tokens[: last + 1]
    again = bundle.generate(prompt, max_tokens=last + 1, ignore_eos=True)
    assert again.tokens == arrived  # nothing of it stays in the cache
    with pytest.raises(intaglio.NanScores, match="token 1 "):
        bundle.generate([5, tokens[last]], temperature=1, seed=1)


def test_the_command_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = broken(FIXTURES / "llama-optimum-18", tmp_path / "model", "model.onnx", "model.norm.weight")
    bundle = intaglio.compile(model, tmp_path / "bundle")
    assert any("logits of step has no finite number" in note for note in bundle.report["notes"])
    assert main(["run", str(bundle.folder), "--prompt", "a"]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("intaglio: the scores of token 1 are NaN") and "intaglio verify" in error


def test_a_whisper_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = FIXTURES / "whisper-split-18"
    weight = "model.decoder.layers.0.encoder_attn.out_proj.bias"
    model = broken(source, tmp_path / "model", "decoder_model.onnx", weight)
    bundle = intaglio.compile(model, tmp_path / "bundle")
    assert any("logits of prefill has no finite number" in note for note in bundle.report["notes"])
    soundfile.write(tmp_path / "a.wav", np.zeros(16_000, np.float32), 16_000)
    assert main(["run", str(bundle.folder), "--audio", str(tmp_path / "a.wav"), "--no-require-speech"]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("intaglio: the scores of ") and "intaglio verify" in error
