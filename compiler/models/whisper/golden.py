"""Golden values of a Whisper: what the reference implementation of ONNX makes of the export, before any pass; or, where
its numbers are stored in fewer bits, what numpy makes of those.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from intaglio.compiler.ir.graph import Graph
from intaglio.compiler.models.model import Check, sample
from intaglio.compiler.models.whisper import mel
from intaglio.compiler.models.whisper.export import Export
from intaglio.compiler.passes.fuse_quantized import rounds_by_run
from intaglio.compiler.semantics import evaluate
from intaglio.runtime.contract import NEW_TOKENS, PAST


@dataclass(frozen=True)
class Tone:
    """One second of a rising tone: the inputs of the program mel, and the spectrogram that it gives."""

    inputs: dict[str, np.ndarray]
    features: dict[str, np.ndarray]


def tone(export: Export, spectrogram: Graph) -> Tone:
    samples = np.arange(mel.RATE, dtype=np.float64) / mel.RATE
    audio = np.zeros((1, 1, 2 * export.positions * mel.HOP + mel.N_FFT), np.float32)
    rising = 0.5 * np.sin(2 * np.pi * (200 + 900 * samples) * samples)
    audio[0, 0, mel.N_FFT // 2 : mel.N_FFT // 2 + len(rising)] = rising[: audio.size - mel.N_FFT]
    inputs = {"audio": audio, "loudest": np.full((1, 1, 1), -10, np.float32)}
    return Tone(inputs, evaluate.run(spectrogram, inputs))


class Listener:
    """An encoder that has heard a tone, and a decoder, by numpy: as they were exported, or with caches."""

    def __init__(self, encoder: Graph, decoder: Graph, heard: Tone) -> None:
        features = {v.name: heard.features["input_features"] for v in encoder.inputs}
        wanted = (*encoder.outputs, *(out for node in encoder.nodes for out in node.written))
        values = {v: (features | evaluate.zeros(encoder))[v.name] for v in (*encoder.inputs, *encoder.states)}
        made = evaluate.compute(encoder, encoder.nodes, values, {}, wanted)
        self.hidden = made[encoder.outputs[0]]
        self.decoder = decoder
        self._states = {s.name: made[out] for node in encoder.nodes for out, s in node.written.items()}

    def run(self, ids: np.ndarray) -> tuple[dict[str, np.ndarray], dict[str, int]]:
        """Inputs and symbols of the decoder for ids i64[1, n]."""
        feeds = {"input_ids": ids, "encoder_hidden_states": self.hidden}
        return feeds | evaluate.zeros(self.decoder) | self._states, {PAST: 0, NEW_TOKENS: ids.shape[1]}

    def logits(self, ids: np.ndarray) -> np.ndarray:
        """f32[1, n, vocabulary] for ids i64[1, n]."""
        return evaluate.run(self.decoder, *self.run(ids))["logits"]


def prompt(settings: dict[str, Any]) -> list[int]:
    return [settings["start"], settings["no_timestamps"]]


def checks(export: Export, heard: Tone, listener: Listener) -> list[Check]:
    """The tone through every program, and a few tokens, as `listener` has it."""
    settings = export.settings
    more = [] if rounds_by_run(listener.decoder) else _ordinary_tokens(settings)
    ids = np.array([[*prompt(settings), *more]], np.int64)
    logits = listener.logits(ids)
    features = heard.features["input_features"]
    result = [
        Check("mel", {}, heard.inputs, {name: sample(y) for name, y in heard.features.items()}),
        Check("encode", {}, {"input_features": features}, {"last_hidden_state": sample(listener.hidden)}),
        Check(
            "prefill", {PAST: 0, NEW_TOKENS: 2, "begin": 2}, {"input_ids": ids[:, :2]}, {"logits": sample(logits[:, 1])}
        ),
    ]
    for position in range(2, ids.shape[1]):
        tokens = np.zeros((1, export.context + 1, 1), np.int32)
        tokens[0, : ids.shape[1], 0] = ids[0]
        result.append(
            Check("step", {PAST: position, "begin": 2}, {"tokens": tokens}, {"logits": sample(logits[:, position])})
        )
    return result


def _ordinary_tokens(settings: dict[str, Any]) -> list[int]:
    return [i for i in range(settings["end"]) if i not in settings["suppress"]][-2:]
