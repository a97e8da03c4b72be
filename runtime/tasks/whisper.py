"""Speech to text with the programs of a Whisper: mel, encode, detect, prefill, step.

Whisper transcribes windows of a fixed length. Recordings of any length are transcribed as in OpenAI's reference,
whisper/transcribe.py, at temperature 0. Positions in a recording are counted in frames of the spectrogram, as there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

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
from intaglio.runtime.progress import Progress, silent
from intaglio.runtime.tasks.audio import mono
from intaglio.runtime.tasks.decode import Decoder, Request, nan_scores
from intaglio.runtime.tasks.tokenizer import Tokenizer

if TYPE_CHECKING:
    from intaglio.runtime.session import Session

BUDGET = 0.02  # seconds that a submit of steps may take; a window has few tokens, and steps after its end are wasted
TASKS = ("transcribe", "translate")
DETECTED = "auto"  # instead of a language: the model detects it
WELL_KNOWN = ("en", "zh", "de", "es", "fr")


@dataclass(frozen=True)
class Segment:
    """A part of a recording, from `start` to `end` in seconds: its text and tokens."""

    start: float
    end: float
    text: str
    tokens: list[int]


@dataclass(frozen=True)
class Transcript:
    """The text of a recording, whole and in segments. `tokens`: without special tokens and timestamps."""

    text: str
    segments: list[Segment]
    language: str
    tokens: list[int]


@dataclass(frozen=True)
class Settings:
    """The content of generation.json: special tokens, those of languages and tasks, and the sizes of the spectrogram.

    Tokens below `end` are text; those from `first_timestamp` on are times. A sequence has up to `max_length` tokens. A
    window has `frames` frames, one every `hop` samples, each of `context` samples around its middle. A timestamp counts
    in units of `frames_per_timestamp` frames. `silence` is the log10 of the lowest power in the spectrogram. `language`
    and `task` are the defaults; a language of None is detected.
    """

    start: int
    end: int
    no_timestamps: int
    first_timestamp: int
    multilingual: bool
    languages: dict[str, int]
    tasks: dict[str, int]
    max_length: int
    rate: int
    hop: int
    context: int
    frames: int
    frames_per_timestamp: int
    silence: float
    language: str | None
    task: str

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> Settings:
        """Return the settings in a parsed generation.json. Raises BadBundle if they are not valid."""
        try:
            data = {"language": None, "task": TASKS[0]} | dict(data)
            settings = cls(**{field.name: data[field.name] for field in fields(cls)})
            languages, tasks = dict(settings.languages), dict(settings.tasks)
        except (KeyError, TypeError, ValueError) as error:
            raise BadBundle(f"generation.json is broken: {error}; compile the model again") from error
        tokens = [settings.start, settings.end, settings.no_timestamps, settings.first_timestamp]
        names = ("max_length", "rate", "hop", "context", "frames", "frames_per_timestamp")
        sizes = [getattr(settings, name) for name in names]
        numbers = [*tokens, *sizes, *languages.values(), *tasks.values()]
        whole = all(type(n) is int and n >= 0 for n in numbers) and all(sizes)
        if not whole or type(settings.silence) is not float or not settings.silence < 0:
            raise BadBundle("generation.json is broken: a number is missing; compile the model again")
        if settings.multilingual and not (languages and tasks):
            raise BadBundle("generation.json is broken: languages or tasks are missing; compile the model again")
        if settings.language not in (None, *languages) or settings.task not in TASKS:
            raise BadBundle("generation.json is broken: unknown language or task; compile the model again")
        return settings

    def seconds(self, frames: int) -> float:
        return frames * self.hop / self.rate

    def choices(self, language: str | None, task: str | None) -> tuple[str | None, str]:
        """Return the language and the task, by default those of the settings. The language is None to be detected.

        Raises ValueError for a language or a task that the model does not know.
        """
        task = task or self.task
        language = None if language == DETECTED else language or self.language
        if task not in TASKS or (self.multilingual and task not in self.tasks):
            raise ValueError(f"unknown task {task!r}; expected {' or '.join(self.tasks or TASKS)}")
        if not self.multilingual:
            if language not in (None, "en") or task != "transcribe":
                what = f"has no language {language!r}" if task == "transcribe" else f"cannot {task}"
                raise ValueError(f"this model is English-only: it {what}; compile a multilingual Whisper for that")
            return "en", task
        if language is not None and language not in self.languages:
            some = [code for code in WELL_KNOWN if code in self.languages] or list(self.languages)[:5]
            count = len(self.languages)
            raise ValueError(f"unknown language {language!r}; this model supports {count}, such as {', '.join(some)}")
        return language, task


class Sound:
    """A recording, divided into windows.

    frames: the number of frames of the recording. audible: the number of frames that contain some of its samples, which
    is a little larger.
    """

    def __init__(self, samples: np.ndarray, settings: Settings) -> None:
        self._settings, self._half = settings, settings.context // 2
        self._samples = samples
        self.frames = max(1, len(samples) // settings.hop)
        self.audible = (len(samples) + self._half) // settings.hop + 1

    def window(self, first: int) -> np.ndarray:
        """Return the samples under the window of frames from `first` on, f32[1, 1, hop * frames + context].

        Samples outside the recording are 0. The program `mel` mirrors the recording at its start.
        """
        s = self._settings
        length = s.hop * s.frames + s.context
        start = first * s.hop - self._half
        part = self._samples[max(0, start) : start + length]
        before = max(0, -start)
        return np.pad(part, (before, length - before - len(part)))[None, None]


class Transcriber:
    """Transcribes recordings with a session of a Whisper bundle. `settings`: the content of generation.json.

    Raises BadBundle if the settings do not fit the bundle's plan.
    """

    def __init__(self, session: Session, settings: Mapping[str, Any], tokenizer: Tokenizer) -> None:
        self.settings = Settings.parse(settings)
        self._session, self._tokenizer = session, tokenizer
        programs = {MEL, ENCODE, PREFILL, STEP} | ({DETECT} if self.settings.multilingual else set())
        if not session.plan.programs.keys() >= programs or PAST not in session.plan.symbols:
            raise BadBundle("plan.json is broken: it is not the plan of a Whisper; compile the model again")
        room = session.plan.symbols[PAST][1] + 1
        if self.settings.max_length > room:
            raise BadBundle(f"generation.json allows {self.settings.max_length} tokens, plan.json {room}")
        self._decoder = Decoder(session, room, room, BUDGET)

    def transcribe(
        self,
        samples: np.ndarray,
        language: str | None = None,
        task: str | None = None,
        timestamps: bool | None = None,
        progress: Progress = silent,
    ) -> Transcript:
        """Return the transcript of `samples`, f32[n] at the model's rate (16 kHz).

        language: a code such as "en", or "auto" to detect it. task: "transcribe", or "translate" into English. None:
        as in the settings, or else "auto" and "transcribe".
        timestamps: let the model generate timestamps. None: only for recordings of several windows, which need them.
        Raises AudioError for samples that are not a recording, ValueError for a language or task the model lacks.
        """
        s = self.settings
        language, task = s.choices(language, task)
        sound = Sound(mono(samples, s.rate, s.rate), s)
        timed = sound.frames > s.frames if timestamps is None else timestamps
        self._measure(sound)
        segments: list[Segment] = []
        seek = 0
        while seek < sound.frames:
            self._listen(sound, seek)
            language = language or self._detect_language()
            tokens = self._decode(self._prompt(language, task, timed), timed)
            size = min(s.frames, sound.frames - seek)
            pieces, advance = cut(tokens, size, s) if timed else ([Piece(0, size, tokens)], size)
            segments += [segment for piece in pieces if (segment := self._segment(seek, piece)) is not None]
            seek += advance
            progress("transcribing", min(seek, sound.frames), sound.frames)
        assert language is not None  # a recording has at least one frame, so its language was detected
        tokens = [token for segment in segments for token in segment.tokens]
        return Transcript(self._tokenizer.decode(tokens).strip(), segments, language, tokens)

    def _prompt(self, language: str, task: str, timed: bool) -> list[int]:
        s = self.settings
        spoken = [s.languages[language], s.tasks[task]] if s.multilingual else []
        return [s.start, *spoken, *([] if timed else [s.no_timestamps])]

    def _segment(self, seek: int, piece: Piece) -> Segment | None:
        """Return a piece as a segment, or None if it has no text or no duration."""
        tokens = [token for token in piece.tokens if token < self.settings.end]
        text = self._tokenizer.decode(tokens)
        if not tokens or text.isspace() or piece.start == piece.end:
            return None
        start, end = self.settings.seconds(seek + piece.start), self.settings.seconds(seek + piece.end)
        return Segment(start, end, text.strip(), tokens)

    # the programs

    def _measure(self, sound: Sound) -> None:
        """Update the state `loudest` from the whole recording or, if it has one window, from the frames after that."""
        window = self.settings.frames
        self._session.write(LOUDEST, np.full((1, 1, 1), self.settings.silence, np.float32))
        for first in range(0 if sound.frames > window else window, sound.audible, window):
            self._spectrogram(sound, first, 0)

    def _spectrogram(self, sound: Sound, first: int, padding: int) -> None:
        self._session.write(AUDIO, sound.window(first))
        self._session.submit(MEL, {OPENING: int(first == 0), PADDING: padding})

    def _listen(self, sound: Sound, seek: int) -> None:
        """Encode the window at `seek`.

        A recording shorter than a window ends in silence. The last window of a longer one ends in zeros, which are not
        silence in a spectrogram. OpenAI's reference and transformers do the same.
        """
        window = self.settings.frames
        self._spectrogram(sound, seek, max(0, window - (sound.frames - seek)) if sound.frames > window else 0)
        self._session.submit(ENCODE, {})

    def _detect_language(self) -> str:
        self._session.write(TOKENS, np.array([self.settings.start]))
        (token,) = self._session.submit(DETECT, {PAST: 0, BEGIN: 1}, (TOKENS, 1, 1))
        if token == NO_TOKEN:
            raise nan_scores("the languages")
        return next(code for code, language in self.settings.languages.items() if language == token)

    def _decode(self, prompt: list[int], timed: bool) -> list[int]:
        """Return the tokens after the prompt, up to the end token or the maximum length."""
        symbols = {BEGIN: len(prompt), TIMED: int(timed)}
        tokens: list[int] = []
        for some in self._decoder.tokens(prompt, Request(symbols, self.settings.max_length - len(prompt))):
            tokens += some
            if self.settings.end in some:
                return tokens[: tokens.index(self.settings.end)]
        return tokens


@dataclass(frozen=True)
class Piece:
    """The tokens of a window, including timestamps, that belong to its frames from `start` to `end`."""

    start: int
    end: int
    tokens: Sequence[int]


def cut(tokens: Sequence[int], size: int, settings: Settings) -> tuple[list[Piece], int]:
    """Divide the tokens of a window of `size` frames at its timestamps. Returns the pieces and the frames to advance.

    Two timestamps, an end and a start, separate two pieces. Tokens after the last pair are unfinished and are
    transcribed again in the next window. But if a single timestamp ends the tokens, there is no speech after it.
    """

    def frame(token: int) -> int:
        return (token - settings.first_timestamp) * settings.frames_per_timestamp

    timed = [token >= settings.first_timestamp for token in tokens]
    finished = timed[-2:] == [False, True]
    ends = [i for i in range(1, len(tokens)) if timed[i - 1] and timed[i]]
    if not ends:
        last = next((frame(token) for token in reversed(tokens) if token >= settings.first_timestamp), 0)
        return [Piece(0, last or size, tokens)], size
    if finished:
        ends.append(len(tokens))
    starts = [0, *ends[:-1]]
    pieces = [Piece(frame(tokens[a]), frame(tokens[b - 1]), tokens[a:b]) for a, b in zip(starts, ends, strict=True)]
    return pieces, size if finished else frame(tokens[ends[-1] - 1]) or size
