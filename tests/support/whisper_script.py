"""A Whisper that is a script of tokens, its tokenizer, and sounds."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
from tokenizers import AddedToken, decoders, models, pre_tokenizers
from tokenizers import Tokenizer as Tokenizers

from intaglio.runtime.tasks.tokenizer import Tokenizer
from intaglio.runtime.tasks.whisper.options import Options

any_sound = partial(Options, require_speech=False)  # options that take noise for speech
BYTES = sorted(pre_tokenizers.ByteLevel.alphabet())
END, START, EN, DE, TRANSLATE, TRANSCRIBE, PREVIOUS, NO_TIMESTAMPS = range(256, 264)
FIRST = 264  # the timestamp 0.00
BANDS, FRAMES = 80, 100  # windows of one second
SETTINGS = {
    "start": START,
    "end": END,
    "no_timestamps": NO_TIMESTAMPS,
    "first_timestamp": FIRST,
    "previous": PREVIOUS,
    "no_speech": END,
    "sampling_order": ["temperature", "max_initial_timestamp"],
    "vocabulary": FIRST + 51,
    "multilingual": True,
    "languages": {"de": DE, "en": EN},
    "names": {"de": ["German"], "en": ["English"]},
    "tasks": {"transcribe": TRANSCRIBE, "translate": TRANSLATE},
    "suppress": [],
    "suppress_first": [],
    "max_length": 64,
    "rate": 16_000,
    "hop": 160,
    "context": 400,
    "frames": FRAMES,
    "frames_per_timestamp": 2,
    "silence": -10.0,
    "alignment_heads": [],
}
ENGLISH = SETTINGS | {"multilingual": False, "languages": {}, "names": {"en": ["English"]}, "tasks": {}}


def tokenizer() -> Tokenizer:
    """A token for each byte, then the special tokens."""
    made = Tokenizers(models.BPE({c: i for i, c in enumerate(BYTES)}, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    made.decoder = decoders.ByteLevel()
    names = ["endoftext", "startoftranscript", "en", "de", "translate", "transcribe", "startofprev", "notimestamps"]
    made.add_special_tokens([AddedToken(f"<|{name}|>", special=True) for name in names])
    made.add_tokens([AddedToken(f"<|{i / 50:.2f}|>") for i in range(51)])
    return Tokenizer(made.to_str().encode())


def text(words: str) -> list[int]:
    table = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    return [BYTES.index(c) for c in table.pre_tokenize_str(words)[0][0]] if words else []


def at(seconds: float) -> int:
    return FIRST + round(seconds * 50)


@dataclass(frozen=True)
class Said:
    """What the model says when it is asked once. average: the log-probability of each token and of the end."""

    tokens: Sequence[int]
    average: float = -0.1
    no_speech: float = 0.0


class Script:
    """A session whose model says what the script says: tokens for each window, and one likeliest language.

    prompts, symbols, temperatures: of each text that was asked for.
    """

    device = None  # the best adapter, for the detector of speech
    lock = nullcontext()

    def __init__(self, windows: Sequence[Sequence[int] | Said], language: int = EN) -> None:
        names = ("mel", "encode", "detect", "prefill", "step")
        self.plan = SimpleNamespace(programs=dict.fromkeys(names), symbols={"past": (0, 63), "new_tokens": (1, 64)})
        self.windows = [window if isinstance(window, Said) else Said(window) for window in windows]
        self.language = language
        self.values: dict[str, np.ndarray] = {}
        self.tokens = np.zeros(65, np.int32)
        self.writes = 0
        self.features: list[np.ndarray] = []  # what each `encode` was given
        self.calls: list[tuple[Any, ...]] = []
        self.prompts: list[list[int]] = []
        self.symbols: list[dict[str, int]] = []
        self.temperatures: list[float] = []
        self.answer: list[int] = []

    def write(self, name: str, array: np.ndarray, offset: int = 0) -> None:
        self.writes += 1
        if name == "tokens":
            self.tokens[offset : offset + array.size] = array
        else:
            self.values[name] = np.array(array)

    def submit(self, program: str, symbols: dict[str, int], read: tuple[str, int, int] | None = None) -> Any:
        return self.replay(program, [symbols], read)

    def replay(self, program: str, runs: list[dict[str, int]], read: tuple[str, int, int] | None = None) -> Any:
        self.writes += 1
        self.calls.append((program, *runs, read))
        for symbols in runs:
            getattr(self, f"_{program}")(symbols)
        if read is None:
            return None
        name, first, count = read
        content = self.tokens if name == "tokens" else self.values[name].view(np.int32)
        return content[first : first + count].copy()

    def read(self, name: str, symbols: dict[str, int]) -> np.ndarray:
        """The loudest frame, or the scores of a text, which ends with this."""
        if name == "loudest":
            return self.values[name]
        assert name == "scores"
        said, run = self.windows.pop(0), self.calls[-1][1]
        self.prompts.append(self.tokens[: run["begin"]].tolist())
        self.symbols.append(run)
        self.temperatures.append(round(float(self.values["sampling"][0]), 6))
        scores = np.zeros((65, 2), np.float32)
        scores[run["begin"] :, 0] = said.average
        scores[self.prompts[-1].index(START) + 1, 1] = said.no_speech
        return scores

    def launch(self, program: str, runs: list[dict[str, int]], read: tuple[str, int, int]) -> Any:
        words = self.replay(program, runs, read)
        return SimpleNamespace(words=lambda: words)

    def _mel(self, symbols: dict[str, int]) -> None:
        self.values["input_features"] = np.ones((1, BANDS, FRAMES), np.float32)

    def _encode(self, symbols: dict[str, int]) -> None:
        self.features.append(self.values["input_features"][0])

    def _detect(self, symbols: dict[str, int]) -> None:
        assert (self.tokens[0], symbols["past"]) == (START, 0)
        self.values["languages"] = np.array([0.25, 0.75] if self.language == EN else [0.75, 0.25], np.float32)

    def _prefill(self, symbols: dict[str, int]) -> None:
        self.answer = [*self.windows[0].tokens, END]
        self.tokens[symbols["past"] + symbols["new_tokens"]] = self.answer.pop(0)

    def _step(self, symbols: dict[str, int]) -> None:
        self.tokens[symbols["past"] + 1] = self.answer.pop(0) if self.answer else END


def sound(seconds: float) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 0.1, round(seconds * 16_000)).astype(np.float32)
