"""Golden values of a Whisper: what the reference implementation of ONNX makes of the export, before any pass."""

from __future__ import annotations

from typing import Any

import numpy as np

from intaglio.compiler import evaluate, mel
from intaglio.compiler.export import Export
from intaglio.compiler.ir import Graph
from intaglio.compiler.model import Check, sample


def checks(export: Export, spectrogram: Graph, encoder: Graph, decoder: Graph) -> list[Check]:
    """One second of a rising tone through every program, against the reference implementation of ONNX on the export."""
    samples = np.arange(mel.RATE, dtype=np.float64) / mel.RATE
    audio = np.zeros((1, 1, 2 * export.positions * mel.HOP + mel.N_FFT), np.float32)
    tone = 0.5 * np.sin(2 * np.pi * (200 + 900 * samples) * samples)
    audio[0, 0, mel.N_FFT // 2 : mel.N_FFT // 2 + len(tone)] = tone[: audio.size - mel.N_FFT]
    inputs = {"audio": audio, "loudest": np.full((1, 1, 1), -10, np.float32)}
    features = evaluate.run(spectrogram, inputs)
    hidden = evaluate.run(encoder, {"input_features": features["input_features"]})["last_hidden_state"]
    settings = export.settings
    prompt = [settings["start"], settings["no_timestamps"]]
    ids = np.array([[*prompt, *_ordinary_tokens(settings)]], np.int64)
    feeds = {"input_ids": ids, "encoder_hidden_states": hidden}
    logits = evaluate.run(decoder, feeds, {"T": ids.shape[1]})["logits"]
    result = [
        Check("mel", {}, inputs, {name: sample(y) for name, y in features.items()}),
        Check("encode", {}, {"input_features": features["input_features"]}, {"last_hidden_state": sample(hidden)}),
        Check("prefill", {"P": 0, "T": 2, "begin": 2}, {"input_ids": ids[:, :2]}, {"logits": sample(logits[:, 1])}),
    ]
    for position in range(2, ids.shape[1]):
        tokens = np.zeros((1, export.context + 1, 1), np.int32)
        tokens[0, : ids.shape[1], 0] = ids[0]
        result.append(
            Check("step", {"P": position, "begin": 2}, {"tokens": tokens}, {"logits": sample(logits[:, position])})
        )
    return result


def _ordinary_tokens(settings: dict[str, Any]) -> list[int]:
    return [i for i in range(settings["end"]) if i not in settings["suppress"]][-2:]
