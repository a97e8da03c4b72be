"""The times of words: the program `align` against onnxruntime, and real words against OpenAI's."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

import intaglio
from benchmarks.recordings import RECORDINGS

FIXTURES = Path(__file__).parents[1] / "fixtures"
POSITIONS, END = 50, 300  # of the small Whisper


def cross_attention(folder: Path) -> tuple[onnx.ModelProto, list[str]]:
    """The decoder with the weights of cross-attention as outputs, in the order of its layers."""
    model = onnx.load(folder / "decoder_model.onnx")
    names = [node.output[0] for node in model.graph.node if node.op_type == "Softmax" and "encoder_attn" in node.name]
    model.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in names)
    return model, names


def test_weights_and_probabilities_are_those_of_onnxruntime(tmp_path: Path) -> None:
    heads = [[0, 1], [1, 0], [1, 1]]
    folder = tmp_path / "export"
    folder.mkdir()
    for file in (FIXTURES / "whisper-split-14").iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    config = json.loads((folder / "generation_config.json").read_text()) | {"alignment_heads": heads}
    (folder / "generation_config.json").write_text(json.dumps(config))
    bundle = intaglio.compile(folder, tmp_path / "bundle")
    tokens = np.random.default_rng(0).integers(0, END, 41)
    features = np.random.default_rng(1).normal(size=(1, 80, 2 * POSITIONS)).astype(np.float32)
    rows = bundle.run({"input_features": features}, "encode")["last_hidden_state"]
    model, names = cross_attention(folder)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    feeds = {"input_ids": tokens[None, :-1], "encoder_hidden_states": rows}
    logits, *weights = session.run(["logits", *names], feeds)
    text = np.exp(logits[0, :, :END] - logits[0, :, :END].max(axis=1, keepdims=True))
    chances = (text / text.sum(axis=1, keepdims=True))[np.arange(40), tokens[1:]]
    state = np.zeros((1, 65, 1), np.int32)
    state[0, :41, 0] = tokens
    for past, count in (0, 32), (8, 32):
        found = bundle.run({"tokens": state}, "align", {"past": past})
        part = slice(past, past + count)
        expected = np.stack([weights[layer][0, head, part] for layer, head in heads])
        np.testing.assert_allclose(found["weights"][0], expected, rtol=0, atol=1e-5)
        np.testing.assert_allclose(found["probabilities"][0], chances[part], rtol=1e-4, atol=1e-6)


def test_words_are_those_of_openai(tiny_en_bundle: Path) -> None:
    name = "librivox-0880"
    expected = json.loads((FIXTURES / "transcripts" / "tiny.en.json").read_text())["recordings"][name]["openai-words"]
    words = [word for segment in expected["segments"] for word in segment["words"]]
    transcript = intaglio.load(tiny_en_bundle).transcribe(RECORDINGS[name]().mono, rate=16_000, word_timestamps=True)
    found = [word for segment in transcript.segments for word in segment.words or []]
    assert [word.word for word in found] == [text for _, _, text, _ in words]
    differences = [
        abs(ours - theirs)
        for w, (*times, _, _) in zip(found, words, strict=True)
        for ours, theirs in zip((w.start, w.end), times, strict=True)
    ]
    assert np.median(differences) < 0.01 and max(differences) <= 0.1
    assert max(abs(w.probability - chance) for w, (*_, chance) in zip(found, words, strict=True)) < 0.02
