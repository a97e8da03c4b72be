"""What folders say beside their models: languages, tasks, beams, and configurations that are missing or foreign."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import onnx
import pytest

from intaglio.compiler.ir.errors import BadModel
from intaglio.compiler.models import families
from intaglio.compiler.models.family import Request
from intaglio.compiler.models.language import folder as language
from intaglio.compiler.models.language.family import LanguageModel
from intaglio.compiler.models.layout import Layout
from intaglio.compiler.models.plain.family import PlainModel
from intaglio.compiler.models.whisper import folder as whisper
from intaglio.compiler.models.whisper.family import Whisper

FIXTURES = Path(__file__).parents[2] / "fixtures"
WHISPER, LLAMA = FIXTURES / "whisper-merged-18", FIXTURES / "llama-optimum-18"


def copied(source: Path, out: Path, name: str = "", **settings: Any) -> Path:
    """A copy of a fixture whose file `name` has other settings; those that are None are left out."""
    folder = Path(shutil.copytree(source, out))
    if name:
        changed = json.loads((folder / name).read_text()) | settings
        (folder / name).write_text(json.dumps({k: v for k, v in changed.items() if v is not None}))
    return folder


@pytest.mark.parametrize(
    "settings, language, task",
    [
        ({}, None, "transcribe"),
        ({"language": "<|de|>", "task": "translate"}, "de", "translate"),
        ({"language": "German"}, "de", "transcribe"),
        ({"language": "fr"}, "fr", "transcribe"),
        ({"forced_decoder_ids": [[1, 304], [2, 307], [3, 312]]}, "de", "translate"),
        ({"forced_decoder_ids": [[1, None], [2, 308]]}, None, "transcribe"),
    ],
)
def test_language_and_task(tmp_path: Path, settings: dict[str, Any], language: str | None, task: str) -> None:
    folder = copied(WHISPER, tmp_path / "w", "generation_config.json", **settings)
    read = whisper.read(Layout.of(folder))
    assert (read.settings["language"], read.settings["task"]) == (language, task)
    assert any("--language auto" in note for note in read.notes) == (language is not None)
    assert any("--task transcribe" in note for note in read.notes) == (task != "transcribe")


def test_tokens_around_no_timestamps_follow_the_configuration(tmp_path: Path) -> None:
    """The tokenizer of another size has them elsewhere: large-v3 has one language more than the sizes before it."""
    folder = copied(WHISPER, tmp_path / "w", "generation_config.json", no_timestamps_token_id=313)
    settings = whisper.read(Layout.of(folder)).settings
    names = ("previous", "no_speech", "no_timestamps", "first_timestamp")
    assert [settings[name] for name in names] == [311, 312, 313, 314]


def test_what_a_whisper_is_noted_for(tmp_path: Path) -> None:
    folder = copied(WHISPER, tmp_path / "w", "generation_config.json", num_beams=5, suppress_tokens=None)
    notes = whisper.read(Layout.of(folder)).notes
    assert any("5 beams" in note for note in notes)
    assert any("no tokens are suppressed" in note and "suppress_tokens" in note for note in notes)
    assert not whisper.read(Layout.of(WHISPER)).notes


def test_a_whisper_without_configuration(tmp_path: Path) -> None:
    folder = copied(WHISPER, tmp_path / "w")
    (folder / "config.json").unlink()
    with pytest.raises(BadModel, match=r"no config\.json.*input_features.*copy config\.json"):
        families.family_of(Layout.of(folder)).read(Layout.of(folder), Request())


def test_an_old_whisper(tmp_path: Path) -> None:
    folder = copied(WHISPER, tmp_path / "w")
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.json").write_text(json.dumps(tokenizer["model"]["vocab"]))
    (folder / "merges.txt").write_text("\n".join(" ".join(pair) for pair in tokenizer["model"]["merges"]))
    added = {t["content"]: t["id"] for t in tokenizer["added_tokens"]}
    (folder / "added_tokens.json").write_text(json.dumps(added))
    new, old = whisper.read(Layout.of(WHISPER)), whisper.read(Layout.of(folder))
    assert old.settings == new.settings


def test_what_a_language_model_is_noted_for(tmp_path: Path) -> None:
    folder = copied(LLAMA, tmp_path / "l", "generation_config.json", num_beams=4, max_new_tokens=64)
    notes = language.read(Layout.of(folder)).notes
    assert any("4 beams" in note for note in notes) and any("--max-tokens 64" in note for note in notes)


def test_tokens_of_old_folders(tmp_path: Path) -> None:
    folder = copied(LLAMA, tmp_path / "l", "config.json", bos_token_id=None, eos_token_id=None)
    (folder / "generation_config.json").unlink()
    (folder / "tokenizer_config.json").unlink()
    names = {"bos_token": "<|endoftext|>", "eos_token": "<|im_end|>"}
    (folder / "special_tokens_map.json").write_text(json.dumps(names))
    settings = language.read(Layout.of(folder)).settings
    assert settings["start"] == 300 and settings["end"] == [302] and settings["special"] == names


@pytest.mark.parametrize("config", [None, {"architectures": ["SomeForConditionalGeneration"], "model_type": "some"}])
def test_inputs_say_that_a_model_continues_texts(tmp_path: Path, config: dict[str, Any] | None) -> None:
    for name in ("model.onnx", "generation_config.json"):
        shutil.copy(LLAMA / name, tmp_path / name)
    if config:
        (tmp_path / "config.json").write_text(json.dumps(config))
    for source in (tmp_path, tmp_path / "model.onnx"):
        layout = Layout.of(source)
        assert families.family_of(layout) is LanguageModel
        read = language.read(layout)
        assert read.context == 2048 and language.read(layout, 99).context == 99
        assert any(("SomeFor" if config else "no config.json") in note for note in read.notes)
        assert any("tokenizer.json" in note for note in read.notes)


def test_a_vision_language_model_is_named_as_such(tmp_path: Path) -> None:
    model = onnx.load(LLAMA / "model.onnx")
    model.graph.input[0].name = "inputs_embeds"
    onnx.save(model, tmp_path / "decoder_model_merged.onnx")
    (tmp_path / "config.json").write_text(json.dumps({"architectures": ["LlavaForConditionalGeneration"]}))
    layout = Layout.of(tmp_path)
    with pytest.raises(BadModel, match=r"takes inputs_embeds.*embed_tokens.onnx"):
        families.family_of(layout).read(layout, Request())


def test_other_models_without_configuration_are_plain() -> None:
    assert families.family_of(Layout.of(FIXTURES / "mlp-torchscript-11")) is PlainModel
    assert families.family_of(Layout.of(FIXTURES / "bert-optimizer/bert.onnx")) is PlainModel
    assert families.family_of(Layout.of(WHISPER)) is Whisper
