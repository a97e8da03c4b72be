"""The folders of ONNX Runtime GenAI's builder: what is read from them, and what is wrong with broken ones."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest

from intaglio.compiler.ir.dims import Symbol, dim
from intaglio.compiler.ir.errors import BadModel
from intaglio.compiler.models import decoder_inputs, genai
from intaglio.compiler.models.language import folder as language_folder
from intaglio.compiler.models.layout import Layout
from intaglio.compiler.models.whisper import folder as whisper_folder
from intaglio.compiler.reader import load

FIXTURES = Path(__file__).parents[2] / "fixtures"
TOKENS = dim(Symbol("new_tokens", 1, 8))


@pytest.fixture
def folder(tmp_path: Path) -> Callable[[str], Path]:
    """A copy of a fixture."""
    return lambda name: Path(shutil.copytree(FIXTURES / name, tmp_path / name))


def change(folder: Path, **settings: Any) -> None:
    """Change the section `model` of a folder's configuration."""
    path = folder / genai.NAME
    config = json.loads(path.read_text())
    config["model"] |= settings
    path.write_text(json.dumps(config))


def test_a_language_model() -> None:
    folder = FIXTURES / "gemma2-genai"
    assert language_folder.matches(Layout.of(folder)) and not whisper_folder.matches(Layout.of(folder))
    found = language_folder.read(Layout.of(folder))
    assert found.decoder == folder / "model.onnx"
    assert found.context == 512
    assert found.settings["end"] == [300, 302] and found.settings["start"] == 300
    assert found.settings["sampling"] == {"temperature": 0.7, "top_k": 20, "top_p": 0.8, "repetition_penalty": 1.0}
    assert found.sizes == {"kv_cache_dim": 16, "past_sliding_length": 24}
    assert found.files.keys() == {"tokenizer.json", "chat_template.jinja"}


def test_a_whisper() -> None:
    folder = FIXTURES / "whisper-genai"
    assert whisper_folder.matches(Layout.of(folder)) and not language_folder.matches(Layout.of(folder))
    found = whisper_folder.read(Layout.of(folder))
    assert (found.encoder.name, found.decoder.name) == ("encoder.onnx", "decoder.onnx")
    assert (found.mels, found.positions, found.context) == (80, 50, 64)
    assert found.settings["suppress"] == [] and "no generation_config.json" in found.notes[0]


def test_other_configurations_come_first(folder) -> None:
    """People put them beside the builder's, which alone names the file."""
    copy = folder("llama-genai")
    shutil.copy(FIXTURES / "llama-optimum-18" / "config.json", copy)
    (copy / "generation_config.json").write_text('{"eos_token_id": 7}')
    (copy / "model.onnx").rename(copy / "named.onnx")
    decoder = json.loads((copy / genai.NAME).read_text())["model"]["decoder"]
    change(copy, decoder=decoder | {"filename": "named.onnx"})
    found = language_folder.read(Layout.of(copy))
    assert found.decoder.name == "named.onnx" and found.settings["end"] == [7]


@pytest.mark.parametrize(
    "settings, why",
    [
        ({"decoder": None}, "lacks the section decoder"),
        ({"decoder": {}}, "names the file None as its decoder"),
        ({"decoder": {"filename": "../llama-genai/model.onnx"}}, r"names the file '\.\./"),
        ({"decoder": {"filename": "other.onnx"}}, "other.onnx"),
        ({"type": "whisper"}, "lacks the section encoder"),
    ],
)
def test_broken_configurations(folder, settings: dict[str, Any], why: str) -> None:
    copy = folder("llama-genai")
    change(copy, **settings)
    with pytest.raises(BadModel, match=why):
        language_folder.read(Layout.of(copy))


def test_no_model_in_the_configuration(folder) -> None:
    copy = folder("llama-genai")
    (copy / genai.NAME).write_text('{"search": {}}')
    with pytest.raises(BadModel, match="lacks the section model"):
        language_folder.matches(Layout.of(copy))


def test_an_encoder_of_unknown_sizes(folder) -> None:
    copy = folder("whisper-genai")
    encoder = onnx.load(copy / "encoder.onnx", load_external_data=False)
    encoder.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "frames"
    onnx.save(encoder, copy / "encoder.onnx")
    with pytest.raises(BadModel, match=r"encoder.onnx .*\[batch, mels, frames\]"):
        whisper_folder.read(Layout.of(copy))


def test_an_encoder_without_what_the_decoder_takes() -> None:
    folder = FIXTURES / "whisper-genai"
    encoder = load.load(load.read(folder / "encoder.onnx"), folder=folder, bind={"batch_size": 1})
    encoder.outputs = [v for v in encoder.outputs if v.name != "present_key_cross_1"]
    with pytest.raises(BadModel, match=r"needs past_key_cross_1, but .* are hidden_states"):
        decoder_inputs.read(folder / "decoder.onnx", TOKENS, encoder)
