"""Speech to text with the programs of a Whisper: mel, encode, prefill, step.

Whisper listens to windows of fixed length. What to make of a recording of any length follows OpenAI's reference,
whisper/transcribe.py, at temperature 0; positions in the recording are counted in frames of the spectrogram, as there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from intaglio.runtime.contract import NEW_TOKENS, PAST
from intaglio.runtime.errors import BadBundle
from intaglio.runtime.progress import Progress, silent
from intaglio.runtime.tasks.audio import mono
from intaglio.runtime.tasks.tokenizer import Tokenizer

if TYPE_CHECKING:
    from intaglio.runtime.session import Session

SILENCE = -10.0  # log10 of the smallest power that the spectrogram knows
FRAMES_PER_TIMESTAMP = 2  # the encoder halves the frames, and timestamps count its positions
TASKS = ("transcribe", "translate")
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
    """The text of a recording, whole and in segments. `tokens`: of the text, without special ones and timestamps."""

    text: str
    segments: list[Segment]
    language: str
    tokens: list[int]


@dataclass(frozen=True)
class Settings:
    """What generation.json says: special tokens, those of languages and tasks, and the measures of the spectrogram.

    Tokens below `end` are text, from `first_timestamp` on they are times. A sequence has at most `max_length` tokens. A
    window has `frames` frames, one every `hop` samples, each of `context` samples around its middle.
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

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> Settings:
        """Raises BadBundle."""
        try:
            settings = cls(**{field.name: data[field.name] for field in fields(cls)})
            languages, tasks = dict(settings.languages), dict(settings.tasks)
        except (KeyError, TypeError, ValueError) as error:
            raise BadBundle(f"generation.json is broken: {error}; compile the model again") from error
        tokens = [settings.start, settings.end, settings.no_timestamps, settings.first_timestamp]
        sizes = [settings.max_length, settings.rate, settings.hop, settings.context, settings.frames]
        numbers = [*tokens, *sizes, *languages.values(), *tasks.values()]
        if any(type(n) is not int or n < 0 for n in numbers) or not all(sizes):
            raise BadBundle("generation.json is broken: a number is missing; compile the model again")
        if settings.multilingual and not (languages and tasks):
            raise BadBundle("generation.json is broken: languages or tasks are missing; compile the model again")
        return settings

    def seconds(self, frames: int) -> float:
        return frames * self.hop / self.rate

    def known(self, language: str | None, task: str) -> str | None:
        """The language, None if the model is to find out. Raises ValueError for what the model does not know."""
        if task not in TASKS or (self.multilingual and task not in self.tasks):
            raise ValueError(f"unknown task {task!r}; expected {' or '.join(self.tasks or TASKS)}")
        if not self.multilingual:
            if language not in (None, "en") or task != "transcribe":
                what = f"has no language {language!r}" if task == "transcribe" else f"cannot {task}"
                raise ValueError(f"this model is English-only: it {what}; compile a multilingual Whisper for that")
            return "en"
        if language is not None and language not in self.languages:
            some = [code for code in WELL_KNOWN if code in self.languages] or list(self.languages)[:5]
            count = len(self.languages)
            raise ValueError(f"unknown language {language!r}; this model supports {count}, such as {', '.join(some)}")
        return language


class Sound:
    """A recording as the spectrogram sees it: `context` / 2 samples reflected before its start, silence after its end.

    `frames`: how many the recording counts as. A few more hear some of it, up to `audible`.
    """

    def __init__(self, samples: np.ndarray, settings: Settings) -> None:
        self._settings, half = settings, settings.context // 2
        start = np.pad(samples[: half + 1], (0, max(0, half + 1 - len(samples))))
        self._samples = np.concatenate([start[:0:-1], samples])
        self.frames = max(1, len(samples) // settings.hop)
        self.audible = (len(samples) + half) // settings.hop + 1

    def window(self, first: int) -> np.ndarray:
        """The samples under the window of frames from `first` on, f32[1, 1, hop * frames + context]."""
        s = self._settings
        length = s.hop * s.frames + s.context
        part = self._samples[first * s.hop : first * s.hop + length]
        return np.pad(part, (0, length - len(part)))[None, None]


class Transcriber:
    """`settings`: the content of generation.json. Raises BadBundle."""

    def __init__(self, session: Session, settings: Mapping[str, Any], tokenizer: Tokenizer) -> None:
        self.settings = Settings.parse(settings)
        self._session, self._tokenizer = session, tokenizer
        try:
            (self._features,) = session.plan.programs["encode"].inputs
            room = session.plan.symbols[PAST][1] + 1
        except (KeyError, ValueError) as error:
            raise BadBundle("the plan is broken: it is no Whisper's; compile the model again") from error
        if self.settings.max_length > room:
            raise BadBundle(f"generation.json allows {self.settings.max_length} tokens, the plan {room}")

    def transcribe(
        self,
        samples: np.ndarray,
        language: str | None = None,
        task: str = "transcribe",
        timestamps: bool | None = None,
        progress: Progress = silent,
    ) -> Transcript:
        """The text of `samples`, f32[n] at the model's rate (16 kHz).

        language: a code such as "en"; None lets the model find out. task: "transcribe", or "translate" into English.
        timestamps: let the model tell times; None does so for recordings of several windows, which advance by them.
        Raises AudioError for samples that are not a recording, ValueError for a language or task the model lacks.
        """
        s = self.settings
        language = s.known(language, task)
        sound = Sound(mono(samples, s.rate, s.rate), s)
        timed = sound.frames > s.frames if timestamps is None else timestamps
        loudest = self._loudest(sound)
        segments: list[Segment] = []
        seek = 0
        while seek < sound.frames:
            self._listen(sound, seek, loudest)
            language = language or self._detect_language()
            tokens = self._decode(self._prompt(language, task, timed), timed)
            size = min(s.frames, sound.frames - seek)
            pieces, advance = cut(tokens, size, s) if timed else ([Piece(0, size, tokens)], size)
            segments += [segment for piece in pieces if (segment := self._segment(seek, piece)) is not None]
            seek += advance
            progress("transcribing", min(seek, sound.frames), sound.frames)
        tokens = [token for segment in segments for token in segment.tokens]
        return Transcript(self._tokenizer.decode(tokens).strip(), segments, language, tokens)

    def _prompt(self, language: str, task: str, timed: bool) -> list[int]:
        s = self.settings
        spoken = [s.languages[language], s.tasks[task]] if s.multilingual else []
        return [s.start, *spoken, *([] if timed else [s.no_timestamps])]

    def _segment(self, seek: int, piece: Piece) -> Segment | None:
        """None where nothing is said, or takes no time."""
        tokens = [token for token in piece.tokens if token < self.settings.end]
        text = self._tokenizer.decode(tokens)
        if not tokens or text.isspace() or piece.start == piece.end:
            return None
        return Segment(*(self.settings.seconds(seek + f) for f in (piece.start, piece.end)), text.strip(), tokens)

    # the programs

    def _loudest(self, sound: Sound) -> float:
        """The largest log10 power in a recording; of what one window leaves over, if there is just one to encode."""
        window = self.settings.frames
        peaks = [SILENCE]
        for first in range(0 if sound.frames > window else window, sound.audible, window):
            self._spectrogram(sound, first, SILENCE)
            peaks.append(float(self._session.read("peak", {}).item()))
        return max(peaks)

    def _spectrogram(self, sound: Sound, first: int, loudest: float) -> None:
        self._session.write("audio", sound.window(first))
        self._session.write("loudest", np.full((1, 1, 1), loudest, np.float32))
        self._session.submit("mel", {})

    def _listen(self, sound: Sound, seek: int, loudest: float) -> None:
        """Encode the window at `seek`.

        A recording shorter than a window ends in silence. The last window of a longer one ends in zeros, which are not
        silence in a spectrogram: so it is in OpenAI's reference, and in transformers.
        """
        self._spectrogram(sound, seek, loudest)
        left = sound.frames - seek
        ends = left < self.settings.frames < sound.frames
        if ends or self._features != "input_features":
            features = self._session.read("input_features", {})
            if ends:
                features[..., left:] = 0
            self._session.write(self._features, features)
        self._session.submit("encode", {})

    def _detect_language(self) -> str:
        self._session.write("input_ids", np.array([[self.settings.start]]))
        symbols = {PAST: 0, NEW_TOKENS: 1, "begin": 1, "timed": 0}
        self._session.submit("prefill", symbols)
        logits = self._session.read("logits", symbols).reshape(-1)
        return max(self.settings.languages, key=lambda code: logits[self.settings.languages[code]])

    def _decode(self, prompt: list[int], timed: bool) -> list[int]:
        """The tokens that follow the prompt, up to the end token or the largest length."""
        count = len(prompt)
        symbols = {"begin": count, "timed": int(timed)}
        self._session.write("input_ids", np.array([prompt]))
        token = self._submit("prefill", {**symbols, PAST: 0, NEW_TOKENS: count}, count)
        tokens = []
        while token != self.settings.end:
            tokens.append(token)
            count += 1
            if count >= self.settings.max_length:
                break
            token = self._submit("step", {**symbols, PAST: count - 1}, count)
        return tokens

    def _submit(self, program: str, symbols: Mapping[str, int], index: int) -> int:
        return int(self._session.submit(program, symbols, read=("tokens", index, 1))[0])


@dataclass(frozen=True)
class Piece:
    """Tokens of a window, timestamps included, that belong to its frames from `start` to `end`."""

    start: int
    end: int
    tokens: Sequence[int]


def cut(tokens: Sequence[int], size: int, settings: Settings) -> tuple[list[Piece], int]:
    """Divide the tokens of a window of `size` frames at its timestamps; also how many frames to go on by.

    Between two pieces stand two timestamps, end and start. What follows the last pair is unfinished and is heard again
    in the next window, unless one timestamp ends the window: then nothing is said after it.
    """

    def frame(token: int) -> int:
        return (token - settings.first_timestamp) * FRAMES_PER_TIMESTAMP

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
