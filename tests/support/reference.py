"""Whisper by onnxruntime and numpy: the oracle for whole models. Nothing here comes from the project's own code.

The log-mel spectrogram, the logit filters and the greedy loop are written after the formulas of OpenAI's reference
(whisper/audio.py, whisper/decoding.py); the sessions run whatever an exporter left.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import soundfile
from exact import session


def samples(recording: Path) -> np.ndarray:
    """The samples of a 16 kHz mono recording."""
    audio, rate = soundfile.read(recording, dtype="float32")
    assert rate == 16_000 and audio.ndim == 1
    return audio


def log_mel(audio: np.ndarray, length: int, bands: int = 80) -> np.ndarray:
    """f32[1, bands, length / 160] of `audio`, cut or padded to `length` samples."""
    audio = np.pad(audio[:length], (0, max(0, length - len(audio)))).astype(np.float64)
    frames = np.lib.stride_tricks.sliding_window_view(np.pad(audio, 200, mode="reflect"), 400)[::160][: length // 160]
    power = np.abs(np.fft.rfft(frames * np.hanning(401)[:-1])) ** 2
    log = np.log10(np.maximum(_filters(bands) @ power.T, 1e-10))
    return ((np.maximum(log, log.max() - 8) + 4) / 4).astype(np.float32)[None]


def _filters(bands: int) -> np.ndarray:
    """Slaney's mel filters [bands, 201], as librosa makes them."""

    def to_mel(hertz: np.ndarray) -> np.ndarray:
        return np.where(hertz < 1000, hertz * 3 / 200, 15 + np.log(np.maximum(hertz, 1e-9) / 1000) * 27 / np.log(6.4))

    def to_hertz(mel: np.ndarray) -> np.ndarray:
        return np.where(mel < 15, mel * 200 / 3, 1000 * np.exp(np.log(6.4) / 27 * (mel - 15)))

    points = to_hertz(np.linspace(0, to_mel(np.array(8000.0)), bands + 2))
    ramps = points[:, None] - np.linspace(0, 8000, 201)[None]
    widths = np.diff(points)[:, None]
    triangles = np.maximum(0, np.minimum(-ramps[:-2] / widths[:-1], ramps[2:] / widths[1:]))
    return triangles * (2 / (points[2:] - points[:-2]))[:, None]


class Reference:
    """An exporter's folder, run by onnxruntime on the CPU."""

    def __init__(self, folder: Path, exact: bool = False) -> None:
        self.folder, self._exact = folder, exact
        self.generation = self._json("generation_config.json") or self._special_tokens()
        self._encoder = self._session("encoder_model.onnx", "encoder.onnx")
        self._decoder = self._session("decoder_model_merged.onnx", "decoder_model.onnx", "decoder.onnx")
        with_past = "decoder_with_past_model.onnx"
        self._with_past = self._session(with_past) if (folder / with_past).exists() else None
        config = self._json("config.json") or self._genai()
        self.bands, self.window = config["num_mel_bins"], 2 * 160 * config["max_source_positions"]
        self._heads = config["decoder_attention_heads"]
        self._head_dim = config["d_model"] // self._heads
        self._across: dict[str, np.ndarray] = {}

    def _json(self, name: str) -> dict[str, Any]:
        return json.loads((self.folder / name).read_text()) if (self.folder / name).exists() else {}

    def _genai(self) -> dict[str, int]:
        """What a config.json says, from what GenAI's builder leaves."""
        decoder = self._json("genai_config.json")["model"]["decoder"]
        _, bands, frames = self._encoder.get_inputs()[0].shape
        sizes = {"num_mel_bins": bands, "max_source_positions": frames // 2}
        return sizes | {"decoder_attention_heads": decoder["num_attention_heads"], "d_model": decoder["hidden_size"]}

    def _special_tokens(self) -> dict[str, Any]:
        """What a generation_config.json says, by the names of the tokens; without one nothing is suppressed."""
        ids = {token["content"]: token["id"] for token in self._json("tokenizer.json")["added_tokens"]}
        return {
            "decoder_start_token_id": ids["<|startoftranscript|>"],
            "eos_token_id": ids["<|endoftext|>"],
            "no_timestamps_token_id": ids["<|notimestamps|>"],
            "begin_suppress_tokens": [],
            "suppress_tokens": [],
            "max_initial_timestamp_index": 50,
        }

    def _session(self, *names: str) -> onnxruntime.InferenceSession:
        path = next(self.folder / name for name in names if (self.folder / name).exists())
        return session(path, self._exact)

    def features(self, audio: np.ndarray) -> np.ndarray:
        return log_mel(audio, self.window, self.bands)

    def encode(self, features: np.ndarray) -> np.ndarray:
        """Hidden states; keys and values of cross-attention, where the encoder makes them, are kept for the decoder."""
        hidden, *across = _run(self._encoder, {self._encoder.get_inputs()[0].name: features}).items()
        self._across = {name.replace("present", "past"): rows for name, rows in across}
        return hidden[1]

    def logits(self, hidden: np.ndarray, prompt: list[int], tokens: list[int]) -> np.ndarray:
        """f32[1 + tokens, vocabulary]: after the prompt, which is read at once, and after each of the tokens."""
        decoding = self._decoding(hidden, prompt)
        return np.stack([next(decoding), *map(decoding.send, tokens)])

    def _decoding(self, hidden: np.ndarray, prompt: list[int]) -> Generator[np.ndarray, int, None]:
        """The last logits; for each token that is sent, those after it. With a cache, if there is a decoder for it."""
        ids, cache = list(prompt), {}
        made = self._decode(self._decoder, ids, hidden, {})
        while True:
            ids.append((yield made["logits"][0, -1]))
            cache |= {name.replace("present", "past_key_values"): made[name] for name in made if name != "logits"}
            if self._with_past is None:
                made = self._decode(self._decoder, ids, hidden, {})
            else:
                made = self._decode(self._with_past, ids[-1:], hidden, cache)

    def _decode(
        self, decoder: onnxruntime.InferenceSession, ids: list[int], hidden: np.ndarray, cache: dict[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        known = {"encoder_hidden_states": hidden, "use_cache_branch": np.array([False])} | self._across | cache
        empty = np.zeros((1, self._heads, 0, self._head_dim), np.float32)
        feeds: dict[str, np.ndarray] = {}
        for i in decoder.get_inputs():
            if i.name.endswith("input_ids"):
                feeds[i.name] = np.array([ids], np.int32 if "int32" in i.type else np.int64)
            else:
                feeds[i.name] = known.get(i.name, empty)
        return _run(decoder, feeds)

    def prompt(self, language: str = "en", timed: bool = False) -> list[int]:
        g = self.generation
        spoken = [g["lang_to_id"][f"<|{language}|>"], g["task_to_id"]["transcribe"]] if g.get("is_multilingual") else []
        return [g["decoder_start_token_id"], *spoken, *([] if timed else [g["no_timestamps_token_id"]])]

    def greedy(self, hidden: np.ndarray, prompt: list[int], timed: bool, most: int) -> list[int]:
        """The sampled tokens, at most `most`, without the end token."""
        decoding, tokens = self._decoding(hidden, prompt), []
        logits = next(decoding)
        while len(tokens) < most:
            token = int(filtered(logits, tokens, timed, self.generation).argmax())
            if token == self.generation["eos_token_id"]:
                break
            tokens.append(token)
            logits = decoding.send(token)
        return tokens


def _run(of: onnxruntime.InferenceSession, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The outputs, f32, whether the session takes and gives f32 or f16."""
    half = {i.name for i in of.get_inputs() if i.type == "tensor(float16)"}
    feeds = {name: array.astype(np.float16) if name in half else array for name, array in feeds.items()}
    names = [o.name for o in of.get_outputs()]
    outputs: Sequence[Any] = of.run(names, feeds)
    return {name: y.astype(np.float32) for name, y in zip(names, outputs, strict=True)}


def filtered(logits: np.ndarray, sampled: list[int], timed: bool, generation: dict[str, Any]) -> np.ndarray:
    """The logit filters of whisper/decoding.py: SuppressBlank, SuppressTokens, ApplyTimestampRules."""
    g = generation
    begin = g["no_timestamps_token_id"] + 1
    logits = logits.astype(np.float64)
    if not sampled:
        logits[g["begin_suppress_tokens"]] = -np.inf
    logits[g["suppress_tokens"]] = -np.inf
    if not timed:
        return logits
    logits[g["no_timestamps_token_id"]] = -np.inf
    last = len(sampled) >= 1 and sampled[-1] >= begin
    before = len(sampled) < 2 or sampled[-2] >= begin
    if last and before:
        logits[begin:] = -np.inf
    elif last:
        logits[: g["eos_token_id"]] = -np.inf
    times = [t for t in sampled if t >= begin]
    if times:
        logits[begin : times[-1] + (0 if last and not before else 1)] = -np.inf
    if not sampled:
        logits[:begin] = -np.inf
        logits[begin + g["max_initial_timestamp_index"] + 1 :] = -np.inf
    shifted = logits - logits.max()
    logprobs = shifted - np.log(np.exp(shifted).sum())
    if np.exp(logprobs[begin:]).sum() > np.exp(logprobs[:begin].max()):
        logits[:begin] = -np.inf
    return logits
