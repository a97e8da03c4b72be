"""Language models whose embedding is a file of its own, against onnxruntime on both files as they are."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from language_reference import LanguageReference
from onnx import TensorProto, helper, numpy_helper

import intaglio

FIXTURES = Path(__file__).parents[1] / "fixtures" / "embeds"
HUB = ("onnx/decoder_model_merged.onnx", "onnx/embed_tokens.onnx")
# The text model of a SmolVLM; of a Qwen2-VL, with positions in time and space; a decoder by GenAI's exclude_embeds.
FILES = {"smolvlm": HUB, "qwen2-vl": HUB, "llama-genai": ("decoder.onnx", "embeddings.onnx")}
IDS = np.random.default_rng(0).integers(0, 300, 300).tolist()


@pytest.mark.parametrize("name", FILES)
def test_logits_and_tokens_agree(tmp_path: Path, name: str) -> None:
    """A prompt longer than a chunk of prefill, and a short one."""
    folder, (model, embedding) = FIXTURES / name, FILES[name]
    reference = LanguageReference(folder, model=model, embedding=embedding)
    bundle = intaglio.compile(folder, tmp_path / "bundle")
    assert bundle.plan.kind == "language"
    np.testing.assert_allclose(bundle.logits(IDS[:40]), reference.logits(IDS[:40]), rtol=0, atol=2e-3)
    for prompt in IDS[:5], IDS:
        assert bundle.generate(prompt, max_tokens=24, ignore_eos=True).tokens == reference.greedy(prompt, 24)
    steps = list(bundle.verify_steps(reference=folder))
    assert steps and not [s for s in steps if s.verdict == "wrong"]
    compared = {bundle.graph.operation(s.worst.program, s.step).op for s in steps}
    assert "Gather" in compared, "the embedding's rows are compared with the file's"


def copied(name: str, out: Path) -> Path:
    return Path(shutil.copytree(FIXTURES / name, out / name))


def test_settings_of_the_text_model_are_used(tmp_path: Path) -> None:
    settings = intaglio.compile(FIXTURES / "smolvlm", tmp_path / "bundle").contents.generation
    assert settings["context"] == 512 and settings["vocabulary"] == 303
    assert settings["end"] == [300, 302] and settings["start"] == 300


def halved(source: Path, out: Path) -> None:
    """A model with its weights and rows in f16."""
    model = onnx.load(source)
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), tensor.name))
    for value in model.graph.output:
        value.type.tensor_type.elem_type = TensorProto.FLOAT16
    onnx.save(model, out)


def test_a_dtype_for_each_file(tmp_path: Path) -> None:
    """The rows are then of another type than the decoder takes."""
    folder = copied("smolvlm", tmp_path)
    halved(folder / HUB[1], folder / "onnx/embed_tokens_fp16.onnx")
    with pytest.raises(intaglio.BadModel, match=r"several dtypes: fp32 \(58.* fp16 \(29.*--dtype decoder=fp32,embed"):
        intaglio.compile(folder, tmp_path / "bundle")
    with pytest.raises(
        intaglio.BadModel,
        match=r"no model in fp16; choose from fp32: --dtype fp32 or --dtype decoder=fp32,embed_tokens=fp16",
    ):
        intaglio.compile(folder, tmp_path / "bundle", dtype="fp16")
    bundle = intaglio.compile(folder, tmp_path / "bundle", dtype="decoder=fp32,embed_tokens=fp16")
    reference = LanguageReference(folder, model=HUB[0], embedding=HUB[1])
    np.testing.assert_allclose(bundle.logits(IDS[:20]), reference.logits(IDS[:20]), rtol=0, atol=2e-2)


def test_a_named_decoder_finds_its_embedding(tmp_path: Path) -> None:
    text = intaglio.preview(FIXTURES / "smolvlm" / HUB[0])
    assert "decoder_model_merged.onnx" in text and "embed_tokens.onnx" in text and "text" in text
    assert "embed_tokens" not in intaglio.preview(FIXTURES.parent / "llama-optimum-18")
    alone = intaglio.preview(FIXTURES / "smolvlm" / HUB[1])
    assert "decoder_model" not in alone and ": model" in alone


@pytest.mark.parametrize("name, file", [("smolvlm", HUB[1]), ("llama-genai", "embeddings.onnx")])
def test_a_missing_embedding_is_named(tmp_path: Path, name: str, file: str) -> None:
    folder = copied(name, tmp_path)
    (folder / file).unlink()
    with pytest.raises(intaglio.BadModel) as caught:
        intaglio.compile(folder, tmp_path / "bundle")
    text = str(caught.value)
    assert Path(file).name in text and str((folder / file).parent) in text and "copy" in text and len(text) < 300


def test_a_builders_folder_without_the_section(tmp_path: Path) -> None:
    """As exclude_embeds leaves it: the embedding is named as on hubs, or is missing."""
    folder = copied("llama-genai", tmp_path)
    settings = json.loads((folder / "genai_config.json").read_text())
    del settings["model"]["embedding"]
    (folder / "genai_config.json").write_text(json.dumps(settings))
    with pytest.raises(intaglio.BadModel, match=r"decoder\.onnx takes inputs_embeds, which embed_tokens\.onnx"):
        intaglio.compile(folder, tmp_path / "bundle")
    (folder / "embeddings.onnx").rename(folder / "embed_tokens.onnx")
    assert "embed_tokens.onnx" in intaglio.preview(folder)
    bundle = intaglio.compile(folder, tmp_path / "bundle")
    reference = LanguageReference(folder, model="decoder.onnx", embedding="embed_tokens.onnx")
    np.testing.assert_allclose(bundle.logits(IDS[:9]), reference.logits(IDS[:9]), rtol=0, atol=2e-3)


def test_inputs_of_each_layer(tmp_path: Path) -> None:
    """As Gemma 3n's: the embedding also has rows [batch, tokens, layers, width] that layers read."""
    folder = copied("smolvlm", tmp_path)
    decoder, embedding = (onnx.load(folder / file) for file in HUB)
    rows = helper.make_tensor_value_info("per_layer_inputs", TensorProto.FLOAT, ["b", "t", 2, 48])
    decoder.graph.input.append(rows)
    for node in decoder.graph.node:
        node.input[:] = ["sum" if name == "inputs_embeds" else name for name in node.input]
    decoder.graph.initializer.append(numpy_helper.from_array(np.array(1), "second"))
    first = helper.make_node("Gather", ["per_layer_inputs", "second"], ["layer"], axis=2)
    decoder.graph.node.insert(0, helper.make_node("Add", ["inputs_embeds", "layer"], ["sum"]))
    decoder.graph.node.insert(0, first)
    tables = np.random.default_rng(2).standard_normal((303, 2, 48)).astype(np.float32)
    embedding.graph.initializer.append(numpy_helper.from_array(tables, "tables"))
    embedding.graph.node.append(helper.make_node("Gather", ["tables", "input_ids"], ["per_layer_inputs"]))
    embedding.graph.output.append(rows)
    onnx.save(decoder, folder / HUB[0])
    onnx.save(embedding, folder / HUB[1])
    bundle = intaglio.compile(folder, tmp_path / "bundle")
    assert not [s for s in bundle.verify_steps(reference=folder) if s.verdict == "wrong"]
    reference = LanguageReference(folder, model=HUB[0], embedding=HUB[1])
    np.testing.assert_allclose(bundle.logits(IDS[:20]), reference.logits(IDS[:20]), rtol=0, atol=2e-3)


IMAGES = {
    "scattered": "rows = Gather(table, input_ids) there = Equal(input_ids, image) at = NonZero(there)"
    " places = Transpose(at) inputs_embeds = ScatterND(rows, places, image_features)",
    "chosen": "rows = Gather(table, input_ids) there = Equal(input_ids, image) where = Unsqueeze(there, last)"
    " more = Concat<axis=0>(image_features, none) sum = ReduceSum(more, first) images = Expand(sum, one)"
    " inputs_embeds = Where(where, images, rows)",
}


@pytest.mark.parametrize("how", IMAGES)
def test_an_embedding_that_also_takes_images(tmp_path: Path, how: str) -> None:
    """As GenAI's guides export them: rows of images replace those of a token, of which a text has none."""
    folder = copied("llama-genai", tmp_path)
    (table,) = onnx.load(folder / "embeddings.onnx").graph.initializer
    ports = "(int64[B,T] input_ids, float[n,48] image_features) => (float[B,T,48] inputs_embeds)"
    model = onnx.parser.parse_model(f'<ir_version: 9, opset_import: ["" : 17]> embedding {ports} {{ {IMAGES[how]} }}')
    arrays = {
        "table": numpy_helper.to_array(table),
        "image": np.array(299),
        "last": np.array([-1]),
        "first": np.array([0]),
        "one": np.array([1, 1, 48]),
        "none": np.zeros((1, 48), np.float32),
    }
    model.graph.initializer.extend(numpy_helper.from_array(a, name) for name, a in arrays.items())
    onnx.save(model, folder / "embeddings.onnx")
    bundle = intaglio.compile(folder, tmp_path / "bundle")
    ids = [i for i in IDS[:30] if i != 299]
    reference = LanguageReference(FIXTURES / "llama-genai", model="decoder.onnx", embedding="embeddings.onnx")
    np.testing.assert_allclose(bundle.logits(ids), reference.logits(ids), rtol=0, atol=2e-3)
    assert not [s for s in bundle.verify_steps(reference=folder) if s.verdict == "wrong"]


def test_decoders_that_read_images_themselves(tmp_path: Path) -> None:
    model = onnx.load(FIXTURES.parent / "llama-optimum-18/model.onnx")
    pixels = helper.make_tensor_value_info("pixel_values", TensorProto.FLOAT, [1, 3, 32, 32])
    model.graph.input.append(pixels)
    onnx.save(model, tmp_path / "model.onnx")
    with pytest.raises(intaglio.BadModel, match=r"takes pixel_values.*vision-language.*input_ids"):
        intaglio.compile(tmp_path, tmp_path / "bundle")
