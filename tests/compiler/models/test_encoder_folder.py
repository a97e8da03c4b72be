"""What the files beside a text encoder say: whether it is one, how it pools, how long its texts are, its labels."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from intaglio.compiler.ir.errors import BadModel
from intaglio.compiler.models import families
from intaglio.compiler.models.encoder import folder as folders
from intaglio.compiler.models.encoder import pooling
from intaglio.compiler.models.layout import Layout

ENCODERS = Path(__file__).parents[2] / "fixtures" / "encoders"


def copied(tmp_path: Path, name: str, **changes: dict[str, Any] | None) -> Layout:
    """A fixture with changed JSON files, by the stem of their names; None deletes one."""
    shutil.copytree(ENCODERS / name, tmp_path / name)
    for stem, change in changes.items():
        path = tmp_path / name / f"{stem}.json"
        if change is None:
            path.unlink()
        else:
            path.write_text(json.dumps((json.loads(path.read_text()) if path.exists() else {}) | change))
    return Layout.of(tmp_path / name)


def kind(layout: Layout) -> str:
    return families.family_of(layout).kind


def test_what_is_a_text_encoder(tmp_path: Path) -> None:
    layout = copied(tmp_path, "bert")
    assert kind(layout) == "encoder"
    (tmp_path / "bert" / "config.json").unlink()
    assert kind(layout) == "model", "a file alone"
    shutil.copy(ENCODERS / "minilm" / "tokenizer.json", tmp_path / "bert")
    assert kind(layout) == "encoder", "a tokenizer says that its numbers are tokens"
    assert kind(Layout.of(ENCODERS.parent / "llama-optimum-18")) == "language"
    assert kind(Layout.of(ENCODERS / "minilm" / "onnx" / "model.onnx")) == "encoder"


def test_several_dtypes_are_listed(tmp_path: Path) -> None:
    layout = copied(tmp_path, "minilm")
    shutil.copy(tmp_path / "minilm/onnx/model.onnx", tmp_path / "minilm/onnx/model_O4.onnx")
    layout = Layout.of(tmp_path / "minilm")
    assert kind(layout) == "encoder"
    with pytest.raises(BadModel, match=r"fp32 .*, O4 .*--dtype"):
        folders.read(layout)
    assert folders.read(Layout.of(tmp_path / "minilm", "O4")).encoder.name == "model_O4.onnx"


def test_the_longest_text(tmp_path: Path) -> None:
    def length(**changes: dict[str, Any] | None) -> int:
        shutil.rmtree(tmp_path / "roberta", ignore_errors=True)
        return folders.read(copied(tmp_path, "roberta", **changes)).length

    assert length() == 64
    assert length(tokenizer_config={"model_max_length": int(1e30)}) == 64, (
        "66 positions, of which the first two are not"
    )
    assert length(sentence_roberta_config={"max_seq_length": 24}) == 24
    assert length(config={"max_position_embeddings": 34}) == 32
    layout = Layout.of(tmp_path / "roberta")
    assert folders.read(layout, 8).length == 8
    with pytest.raises(BadModel, match="--max-length is 33; expected 1 to 32"):
        folders.read(layout, 33)


def test_a_model_of_long_texts(tmp_path: Path) -> None:
    long = {"model_max_length": int(1e30)}
    layout = copied(tmp_path, "modernbert", config={"max_position_embeddings": 32768}, tokenizer_config=long)
    folder = folders.read(layout)
    assert folder.length == 8192 and any("--max-length 32768" in note for note in folder.notes)
    assert folders.read(layout, 32768).length == 32768


def write(tmp_path: Path, pool: dict[str, Any], *modules: str) -> Layout:
    """A folder with these modules of sentence-transformers and this configuration of pooling."""
    listed = [{"idx": i, "path": f"{i}_{m}" if i else "", "type": f"a.b.{m}"} for i, m in enumerate(modules)]
    (tmp_path / "modules.json").write_text(json.dumps(listed))
    (tmp_path / "1_Pooling").mkdir(exist_ok=True)
    (tmp_path / "1_Pooling" / "config.json").write_text(json.dumps(pool))
    return Layout(str(tmp_path), (tmp_path,), {})


@pytest.mark.parametrize(
    "pool, expected",
    [
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, ("cls",)),
        ({"pooling_mode_mean_tokens": True, "pooling_mode_max_tokens": True}, ("max", "mean")),
        ({"pooling_mode_lasttoken": True}, ("lasttoken",)),
        ({"pooling_mode": "weightedmean"}, ("weightedmean",)),
        ({"pooling_mode": ["cls", "mean_sqrt_len_tokens"]}, ("cls", "mean_sqrt_len_tokens")),
        ({"word_embedding_dimension": 32}, ("mean",)),
    ],
)
def test_how_texts_are_pooled(tmp_path: Path, pool: dict[str, Any], expected: tuple[str, ...]) -> None:
    assert pooling.read(write(tmp_path, pool, "Transformer", "Pooling")) == pooling.Pooling(expected, stated=True)
    layout = write(tmp_path, pool, "Transformer", "Pooling", "Normalize")
    assert pooling.read(layout) == pooling.Pooling(expected, normalize=True, stated=True)
    (tmp_path / "modules.json").unlink()
    assert pooling.read(layout).modes == expected


def test_modules_that_the_file_leaves_out(tmp_path: Path) -> None:
    with pytest.raises(BadModel, match=r"the module Dense.*--library sentence_transformers"):
        pooling.read(write(tmp_path, {}, "Transformer", "Pooling", "Dense"))
    with pytest.raises(BadModel, match="pools by median"):
        pooling.read(write(tmp_path, {"pooling_mode": "median"}, "Transformer", "Pooling"))


def test_the_default_prompt(tmp_path: Path) -> None:
    prompts = {"prompts": {"query": "query: ", "document": ""}, "default_prompt_name": "query"}
    layout = write(tmp_path, {"pooling_mode": "cls"}, "Transformer", "Pooling")
    (tmp_path / "config_sentence_transformers.json").write_text(json.dumps(prompts))
    assert pooling.read(layout).prompt == "query: "
    layout = write(tmp_path, {"include_prompt": False}, "Transformer", "Pooling")
    with pytest.raises(BadModel, match="remove default_prompt_name"):
        pooling.read(layout)
    (tmp_path / "config_sentence_transformers.json").write_text(json.dumps(prompts | {"default_prompt_name": None}))
    assert pooling.read(layout).prompt == ""


def test_labels(tmp_path: Path) -> None:
    def settings(**config: Any) -> dict[str, Any]:
        shutil.rmtree(tmp_path / "emotions", ignore_errors=True)
        return folders.read(copied(tmp_path, "emotions", config=config)).settings

    assert settings()["labels"] == ["anger", "joy", "sadness"] and settings()["scores"] == "sigmoid"
    assert settings(problem_type=None)["scores"] == "softmax"
    assert settings(problem_type="regression")["scores"] == "none"
    assert settings(problem_type=None, id2label={"0": "LABEL_0"})["scores"] == "sigmoid", "a score of relevance"
    with pytest.raises(BadModel, match="2 labels in id2label, but the model has 3 scores"):
        families.family_of(Layout.of(tmp_path / "emotions")).read(
            copied(tmp_path / "more", "emotions", config={"id2label": {"0": "a", "1": "b"}}), families.Request()
        )
