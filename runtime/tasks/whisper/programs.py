"""The programs of a Whisper, each with the host's part: mel, encode, detect, prefill, step."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from intaglio.runtime.contract import (
    AUDIO,
    BEGIN,
    DETECT,
    ENCODE,
    LOUDEST,
    MEL,
    NO_TOKEN,
    OPENING,
    PADDING,
    PAST,
    PREFILL,
    STEP,
    TIMED,
    TOKENS,
)
from intaglio.runtime.errors import BadBundle
from intaglio.runtime.tasks.decode import Decoder, Request, nan_scores
from intaglio.runtime.tasks.whisper.settings import Settings
from intaglio.runtime.tasks.whisper.sound import Sound

if TYPE_CHECKING:
    from intaglio.runtime.session import Session

BUDGET = 0.02  # seconds that a submit of steps may take; a window has few tokens, and steps after its end are wasted


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
        self._decoder = Decoder(session, room, room, BUDGET)

    def measure(self, sound: Sound, first: int = 0, loudest: float | None = None) -> None:
        """Set the state `loudest` from the whole recording or, if it has one window, from the frames after that.

        first: the frames before it, a number of whole windows, are known to be up to `loudest`.
        """
        window = self._settings.frames
        self._begin(loudest)
        for at in range(first or (0 if sound.frames > window else window), sound.audible, window):
            self._spectrogram(sound, at, 0)

    def loudest(self, sound: Sound, first: int, loudest: float | None) -> float:
        """Return the state `loudest` after the window from the frame `first` on, if it was `loudest` before."""
        self._begin(loudest)
        self._spectrogram(sound, first, 0)
        return float(self._session.read(LOUDEST, {}).item())

    def _begin(self, loudest: float | None) -> None:
        value = self._settings.silence if loudest is None else loudest
        self._session.write(LOUDEST, np.full((1, 1, 1), value, np.float32))

    def listen(self, sound: Sound, seek: int) -> None:
        """Encode the window at `seek`.

        A recording shorter than a window ends in silence. The last window of a longer one ends in zeros, which are not
        silence in a spectrogram. OpenAI's reference and transformers do the same.
        """
        window = self._settings.frames
        self._spectrogram(sound, seek, max(0, window - (sound.frames - seek)) if sound.frames > window else 0)
        self._session.submit(ENCODE, {})

    def _spectrogram(self, sound: Sound, first: int, padding: int) -> None:
        self._session.write(AUDIO, sound.window(first))
        self._session.submit(MEL, {OPENING: int(first == 0), PADDING: padding})

    def detect_language(self) -> str:
        """Return the likeliest language of the window that was encoded last."""
        self._session.write(TOKENS, np.array([self._settings.start]))
        (token,) = self._session.submit(DETECT, {PAST: 0, BEGIN: 1}, (TOKENS, 1, 1))
        if token == NO_TOKEN:
            raise nan_scores("the languages")
        return next(code for code, language in self._settings.languages.items() if language == token)

    def decode(self, prompt: list[int], timed: bool) -> list[int]:
        """Return the tokens after the prompt, up to the end token or the maximum length."""
        symbols = {BEGIN: len(prompt), TIMED: int(timed)}
        tokens: list[int] = []
        for some in self._decoder.tokens(prompt, Request(symbols, self._settings.max_length - len(prompt))):
            tokens += some
            if self._settings.end in some:
                return tokens[: tokens.index(self._settings.end)]
        return tokens
