"""Golden values of a Whisper: what numpy computes for a tone, and a few tokens, on the graphs as they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from intaglio.compiler.ir.graph import Graph
from intaglio.compiler.models.decoder_inputs import tokens_state
from intaglio.compiler.models.model import Decoder, GoldenRun, expected
from intaglio.compiler.models.whisper import mel
from intaglio.compiler.passes.fuse_quantized import rounds_by_run
from intaglio.compiler.semantics import evaluate
from intaglio.runtime.contract import (
    AUDIO,
    BEGIN,
    ENCODE,
    FEATURES,
    HIDDEN,
    LOGITS,
    MEL,
    NEW_TOKENS,
    PAST,
    PREFILL,
    STEP,
    TOKENS,
)


@dataclass(frozen=True)
class Tone:
    """One second of a rising tone: the inputs of the program mel, and the spectrogram that it gives."""

    inputs: dict[str, np.ndarray]
    features: dict[str, np.ndarray]


def tone(spectrogram: Graph) -> Tone:
    samples = np.arange(mel.RATE, dtype=np.float64) / mel.RATE
    audio = np.zeros(next(v.shape for v in spectrogram.inputs if v.name == AUDIO), np.float32)
    rising = 0.5 * np.sin(2 * np.pi * (200 + 900 * samples) * samples)
    audio[0, 0, mel.N_FFT // 2 : mel.N_FFT // 2 + len(rising)] = rising[: audio.size - mel.N_FFT]
    inputs = {AUDIO: audio, "loudest": np.full((1, 1, 1), -10, np.float32)}
    return Tone(inputs, evaluate.run(spectrogram, inputs))


def encoded(encoder: Graph, features: np.ndarray) -> dict[str, np.ndarray]:
    """What the encoder leaves for the decoder: its rows, and the states that it writes, by name."""
    outputs = (*encoder.outputs, *(out for node in encoder.nodes for out in node.written))
    feeds = {v.name: features for v in encoder.inputs} | evaluate.zeros(encoder)
    values = {v: feeds[v.name] for v in (*encoder.inputs, *encoder.states)}
    arrays = evaluate.compute(encoder, encoder.nodes, values, {}, outputs)
    states = {s.name: arrays[out] for node in encoder.nodes for out, s in node.written.items()}
    return {"encoder_hidden_states": arrays[encoder.outputs[0]], **states}


def prompt(settings: Mapping[str, Any]) -> list[int]:
    return [settings["start"], settings["no_timestamps"]]


def checks(context: int, settings: Mapping[str, Any], tone: Tone, decoder: Decoder) -> list[GoldenRun]:
    """The tone through every program, and a few tokens."""
    # Where a run's own numbers set the range that it rounds in, a step is not what the export computes for all tokens.
    more = [] if rounds_by_run(decoder.graph) else _ordinary_tokens(settings)
    ids = np.array([[*prompt(settings), *more]], np.int64)
    logits = decoder.logits(ids)
    hidden = decoder.encoded["encoder_hidden_states"]
    tokens = {TOKENS: tokens_state(ids, context)}
    return [
        _run(MEL, {}, tone.inputs, tone.features, 1e-4),
        _run(ENCODE, {}, {FEATURES: tone.features[FEATURES]}, {HIDDEN: hidden}, 1e-3),
        _run(PREFILL, {PAST: 0, NEW_TOKENS: 2, BEGIN: 2}, {"input_ids": ids[:, :2]}, {LOGITS: logits[:, 1]}, 2e-3),
        *(
            _run(STEP, {PAST: position, BEGIN: 2}, tokens, {LOGITS: logits[:, position]}, 2e-3)
            for position in range(2, ids.shape[1])
        ),
    ]


def _run(
    program: str,
    symbols: dict[str, int],
    inputs: dict[str, np.ndarray],
    outputs: Mapping[str, np.ndarray],
    tolerance: float,
) -> GoldenRun:
    return GoldenRun(program, symbols, inputs, {n: expected(y, tolerance) for n, y in outputs.items()}, tolerance)


def _ordinary_tokens(settings: Mapping[str, Any]) -> list[int]:
    return [i for i in range(settings["end"]) if i not in settings["suppress"]][-2:]
