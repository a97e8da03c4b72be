"""Probes of a Whisper: a tone and a few tokens, and what numpy computes of them on the current graphs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from intaglio.compiler.ir.graph import Graph
from intaglio.compiler.models.decoder_inputs import tokens_state
from intaglio.compiler.models.model import Decoder, Probe
from intaglio.compiler.models.whisper import mel
from intaglio.compiler.passes.fuse_quantized import rounds_by_run
from intaglio.compiler.semantics import evaluate
from intaglio.runtime.contract import (
    AUDIO,
    BEGIN,
    DETECT,
    ENCODE,
    FEATURES,
    HIDDEN,
    LOGITS,
    LOUDEST,
    MEL,
    NEW_TOKENS,
    OPENING,
    PADDING,
    PAST,
    PREFILL,
    STEP,
    TOKENS,
)


@dataclass(frozen=True)
class Tone:
    """A second of a rising tone: the inputs of the program mel, and its spectrogram.

    runs: the symbols and outputs of each golden run. The first run neither opens nor ends the recording.
    """

    inputs: dict[str, np.ndarray]
    runs: list[tuple[dict[str, int], dict[str, np.ndarray]]]

    @property
    def features(self) -> np.ndarray:
        return self.runs[0][1][FEATURES]


def tone(spectrogram: Graph) -> Tone:
    """Return the tone and its spectrograms, computed with the graph `spectrogram`."""
    samples = np.arange(mel.RATE, dtype=np.float64) / mel.RATE
    audio = np.zeros(next(v.fixed_shape for v in spectrogram.inputs if v.name == AUDIO), np.float32)
    rising = 0.5 * np.sin(2 * np.pi * (200 + 900 * samples) * samples)
    audio[0, 0, mel.N_FFT // 2 : mel.N_FFT // 2 + len(rising)] = rising[: audio.size - mel.N_FFT]
    inputs = {AUDIO: audio, LOUDEST: np.full((1, 1, 1), mel.SILENCE, np.float32)}
    frames = spectrogram.outputs[0].shape[-1]
    symbols = [{OPENING: 0, PADDING: 0}, {OPENING: 1, PADDING: frames - frames // 30}]
    return Tone(inputs, [(values, evaluate.run(spectrogram, inputs, values)) for values in symbols])


def encoded(encoder: Graph, features: np.ndarray) -> dict[str, np.ndarray]:
    """Return what the decoder reads from the encoder, by name: its rows, and the states that it writes."""
    outputs = (*encoder.outputs, *(out for node in encoder.nodes for out in node.written))
    feeds = {v.name: features for v in encoder.inputs} | evaluate.zeros(encoder)
    values = {v: feeds[v.name] for v in (*encoder.inputs, *encoder.states)}
    arrays = evaluate.compute(encoder, encoder.nodes, values, {}, outputs)
    states = {s.name: arrays[out] for node in encoder.nodes for out, s in node.written.items()}
    return {"encoder_hidden_states": arrays[encoder.outputs[0]], **states}


def prompt(settings: Mapping[str, Any]) -> list[int]:
    """Return the shortest prompt: the start token and no timestamps."""
    return [settings["start"], settings["no_timestamps"]]


def probes(context: int, settings: Mapping[str, Any], tone: Tone, decoder: Graph) -> list[Probe]:
    """Return runs of all programs on the tone and a few tokens."""
    # If the range of a rounding depends on the run, a step differs from the export, which reads all tokens.
    rounds = rounds_by_run(decoder)
    ids = np.array([[*prompt(settings), *([] if rounds else _ordinary_tokens(settings))]], np.int64)
    tokens = {TOKENS: tokens_state(ids, context)}
    return [
        *(Probe(MEL, values, tone.inputs, {FEATURES: 1e-4}, 1e-4) for values, _ in tone.runs),
        Probe(ENCODE, {}, {FEATURES: tone.features}, {HIDDEN: 1e-3}, 1e-3),
        *([_decoding(DETECT, {PAST: 0, BEGIN: 1}, tokens)] if settings["multilingual"] and not rounds else []),
        _decoding(PREFILL, {PAST: 0, NEW_TOKENS: 2, BEGIN: 2}, tokens),
        *(_decoding(STEP, {PAST: position, BEGIN: 2}, tokens) for position in range(2, ids.shape[1])),
    ]


def _decoding(program: str, symbols: dict[str, int], tokens: dict[str, np.ndarray]) -> Probe:
    return Probe(program, symbols, tokens, {LOGITS: 2e-3}, 2e-3)


def evaluated(probes: Sequence[Probe], tone: Tone, decoder: Decoder) -> list[dict[str, np.ndarray]]:
    """Return the outputs of the probes, computed by numpy on the current graphs."""
    audio = [{FEATURES: run[FEATURES]} for _, run in tone.runs] + [{HIDDEN: decoder.encoded["encoder_hidden_states"]}]
    return audio + decoder.golden(probes[len(audio) :])


def _ordinary_tokens(settings: Mapping[str, Any]) -> list[int]:
    return [i for i in range(settings["end"]) if i not in settings["suppress"]][-2:]
