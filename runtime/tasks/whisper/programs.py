"""The programs of a Whisper, each with the host's part: mel, encode, detect, prefill, step, align."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from weakref import ref

import numpy as np

from intaglio.runtime.contract import (
    ALIGN,
    AUDIO,
    BEGIN,
    DETECT,
    ENCODE,
    LANGUAGES,
    LOUDEST,
    MEL,
    OPENING,
    PADDING,
    PAST,
    PREFILL,
    PROBABILITIES,
    SAMPLING,
    SCORES,
    SEED,
    STEP,
    SUPPRESS,
    TIMED,
    TOKENS,
    WEIGHTS,
)
from intaglio.runtime.errors import BadBundle
from intaglio.runtime.tasks.decode import Decoder, Request, nan_scores
from intaglio.runtime.tasks.whisper.alignment import Alignment, starts
from intaglio.runtime.tasks.whisper.rules import Rules
from intaglio.runtime.tasks.whisper.settings import Settings
from intaglio.runtime.tasks.whisper.sound import Sound

if TYPE_CHECKING:
    from intaglio.runtime.session import Session

BUDGET = 0.02  # seconds that a submit of steps may take; a window has few tokens, and steps after its end are wasted

_Window = tuple["ref[Sound]", int, int]  # the sound, the first frame, the number of frames


@dataclass(frozen=True)
class Decoded:
    """The tokens of a window, without the end token.

    log_probability: the sum of those of the tokens and of the end token, under the rules. no_speech: the probability
    that the window has no speech. finished: there was an end token.
    """

    tokens: list[int]
    log_probability: float
    no_speech: float
    finished: bool

    @property
    def average(self) -> float:
        """Return the average log-probability of a token, as OpenAI's reference counts them."""
        return self.log_probability / (len(self.tokens) + 1)


class Programs:
    """Runs the programs of a Whisper in a session. Raises BadBundle if the settings do not fit the bundle's plan."""

    def __init__(self, session: Session, settings: Settings) -> None:
        self._session, self._settings = session, settings
        programs = {MEL, ENCODE, PREFILL, STEP} | ({DETECT} if settings.multilingual else set())
        if not session.plan.programs.keys() >= programs or PAST not in session.plan.symbols:
            raise BadBundle("plan.json is broken: it is not the plan of a Whisper; compile the model again")
        room = session.plan.symbols[PAST][1] + 1
        if settings.max_length > room:
            raise BadBundle(f"generation.json allows {settings.max_length} tokens, plan.json {room}")
        self.context = room  # tokens, prompt included
        self._decoder = Decoder(session, room, room, BUDGET)
        self._encoded: _Window | None = None  # the last one
        self._detected: _Window | None = None  # the last one, if its language was detected since

    def measure(self, sound: Sound, heard: int = 0, loudest: float | None = None) -> None:
        """Measure the loudest frame of the whole recording, without its first `heard` frames.

        loudest: the value of those, if they are known.
        """
        self._begin(loudest)
        for first in range(heard, sound.audible, self._settings.frames):
            self._spectrogram(sound, first, 0)
        sound.loudest = float(self._session.read(LOUDEST, {}).item())

    def loudest(self, sound: Sound, first: int, loudest: float | None) -> float:
        """Return the state `loudest` after the window from the frame `first` on, if it was `loudest` before."""
        self._begin(loudest)
        self._spectrogram(sound, first, 0)
        return float(self._session.read(LOUDEST, {}).item())

    def _begin(self, loudest: float | None) -> None:
        self._detected = None
        value = self._settings.silence if loudest is None else loudest
        self._session.write(LOUDEST, np.full((1, 1, 1), value, np.float32))

    def listen(self, sound: Sound, seek: int, size: int) -> None:
        """Encode the window at `seek`, of which the first `size` frames count. The recording must have been measured.

        The others are zeros, which are not silence in a spectrogram. OpenAI's reference does the same. A window whose
        language was detected just before is not encoded again.
        """
        window = (ref(sound), seek, size)
        if window != self._detected:
            self._begin(sound.loudest)  # others may have used the session since
            self._spectrogram(sound, seek, self._settings.frames - size)
            self._session.submit(ENCODE, {})
        self._encoded, self._detected = window, None

    def _spectrogram(self, sound: Sound, first: int, padding: int) -> None:
        self._session.write(AUDIO, sound.window(first))
        self._session.submit(MEL, {OPENING: int(first == 0), PADDING: padding})

    def languages(self) -> dict[str, float]:
        """Return the probability of each language, by code, in the window that was encoded last."""
        self._session.write(TOKENS, np.array([self._settings.start]))
        languages = self._settings.languages
        words = self._session.submit(DETECT, {PAST: 0}, (LANGUAGES, 0, len(languages)))
        probabilities = words.view(np.float32)
        if np.isnan(probabilities).any():
            raise nan_scores("the languages")
        self._detected = self._encoded
        return dict(zip(languages, probabilities.tolist(), strict=True))

    def decode(self, prompt: list[int], rules: Rules, temperature: float, seed: int, limit: int) -> Decoded:
        """Return what follows the prompt, up to the end token or `limit` tokens.

        temperature: 0 always takes the likeliest token. seed: of the random numbers, below 2 ** 31.
        """

        def prepare() -> None:
            self._session.write(SAMPLING, rules.sampling(temperature))
            self._session.write(SUPPRESS, rules.bits)

        symbols = {BEGIN: len(prompt), TIMED: int(rules.timed), SEED: seed}
        start = prompt.index(self._settings.start) + 1
        if start < len(prompt):  # the run that ends with the start token tells the probability of no speech
            next(self._decoder.tokens(prompt[:start], Request({**symbols, BEGIN: start}, 1, prepare=prepare)))
        tokens: list[int] = []
        for some in self._decoder.tokens(prompt, Request(symbols, limit, prepare=prepare)):
            tokens += some
            if self._settings.end in some:
                break
        scores = self._session.read(SCORES, {})
        said = tokens[: tokens.index(self._settings.end)] if self._settings.end in tokens else tokens
        chosen = scores[len(prompt) : len(prompt) + min(len(said) + 1, len(tokens)), 0]
        no_speech = float(scores[start, 1])
        return Decoded(said, float(chosen.sum(dtype=np.float64)), no_speech, len(said) < len(tokens))

    @property
    def aligns(self) -> bool:
        """Whether the model tells the times of words."""
        return ALIGN in self._session.plan.programs

    def align(self, prompt: Sequence[int], text: Sequence[int], size: int) -> Alignment:
        """Return where the tokens of a text are in the first `size` frames of the window that was encoded last.

        prompt: the tokens before the text, which ask for one without times. What exceeds the model's context is at the
        end of the rest.
        """
        tokens = [*prompt, *text, self._settings.end][: self.context]
        count = max(1, size // self._settings.frames_per_timestamp)
        parts = [self._weights(tokens, first) for first in range(0, len(tokens), self._rows)]
        weights = np.concatenate([weights for weights, _ in parts], axis=1)[:, : len(tokens), :count]
        probabilities = np.concatenate([chances for _, chances in parts])
        before = len(prompt) - 1
        positions = starts(weights, before, len(tokens) - 2)
        missing = len(text) + 1 - len(positions)
        return Alignment(
            np.pad(positions, (0, missing), mode="edge"),
            np.pad(probabilities[before : len(tokens) - 2], (0, missing), mode="edge"),
        )

    @property
    def _rows(self) -> int:
        """The tokens that a run of `align` reads."""
        (output,) = (b for b in self._session.plan.buffers if b.name == PROBABILITIES)
        return int(output.shape[1])

    def _weights(self, tokens: Sequence[int], first: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the weights f32[heads, rows, positions] of the tokens from `first` on, and the probabilities of those
        after them, f32[rows].

        A run ends in the context. If the rows do not, it begins with tokens that another run has read.
        """
        rows = self._rows
        start = min(first, self.context - rows)
        read = np.full(rows + 1, self._settings.end)
        part = tokens[start : start + rows + 1]
        read[: len(part)] = part
        with self._session.lock:
            self._session.write(TOKENS, read, start)
            self._session.submit(ALIGN, {PAST: start})
            weights, chances = (self._session.read(name, {})[0] for name in (WEIGHTS, PROBABILITIES))
        if np.isnan(chances).any():
            raise nan_scores("the words")
        return weights[:, first - start :], chances[first - start :]
