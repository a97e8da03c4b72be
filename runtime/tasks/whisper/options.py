"""The options of a transcription: their names, defaults and meaning, which Python, the command line and docs share."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields

from intaglio.runtime.tasks.voice.speech import Parameters

SEEDS = 1 << 31


@dataclass(frozen=True)
class Options:
    """Options of a transcription, by the names of OpenAI's whisper. Raises ValueError for a value out of its range.

    language: a code such as "en", or "auto": detected. None: what the export sets, or else "auto".
    task: "transcribe", or "translate" into English. None: what the export sets, or else "transcribe".
    temperature: 0 takes the likeliest tokens; higher ones draw. Several are tried in turn, while a window fails.
    compression_ratio_threshold: a window fails if its text is repetitive: above this ratio of its size to that of the
    compressed text. None: any text will do.
    logprob_threshold: a window fails if its tokens have a lower average log-probability. None: any will do.
    no_speech_threshold: a window is silent if the probability of no speech is above this, and its tokens are not above
    logprob_threshold. None: no window is.
    condition_on_previous_text: let the text so far precede each window.
    initial_prompt: a text that precedes the first window, such as names or a style.
    carry_initial_prompt: let it precede every window.
    hotwords: words that precede every window.
    prefix: the beginning of the first window's text, which the model continues.
    without_timestamps: let the model generate text only; segments are then whole windows.
    max_initial_timestamp: the latest time in a window, in seconds, at which its first segment may begin. None: any.
    suppress_tokens: tokens that are never generated, with commas between them. -1: symbols that are not speech, as the
    export lists them. Empty: none.
    suppress_blank: do not begin a window with a space or the end.
    sample_len: the most tokens of a window. None: half of the model's context.
    best_of: at temperatures above 0, how many texts to draw; the likeliest one counts. None: one.
    length_penalty: the exponent by which the length of a text counts there (0 to 1). None: the average token counts.
    clip_timestamps: the parts to transcribe: start, end, start, end, ... in seconds; a last start means to the end.
    word_timestamps: find the times of words. Segments then begin and end with words.
    prepend_punctuations: with word_timestamps, marks that belong to the word after them.
    append_punctuations: with word_timestamps, marks that belong to the word before them.
    hallucination_silence_threshold: with word_timestamps, drop improbable text beside silences longer than this, in
    seconds. None: keep it.
    seed: at temperatures above 0, the same seed draws the same text.
    multilingual: detect the language of every window, for speech in several languages.
    language_detection_segments: to detect the language, how many windows of speech may be heard.
    language_detection_threshold: a window with a language above this probability decides; otherwise most windows do.
    require_speech: leave out windows and segments in which a detector finds no speech, so that silence and music give
    no text.
    vad: transcribe only what the detector takes for speech, joined, as faster-whisper does.
    vad_parameters: what counts as speech, by name; see `Parameters`.
    """

    language: str | None = None
    task: str | None = None
    temperature: float | Sequence[float] = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
    compression_ratio_threshold: float | None = 2.4
    logprob_threshold: float | None = -1.0
    no_speech_threshold: float | None = 0.6
    condition_on_previous_text: bool = False
    initial_prompt: str | None = None
    carry_initial_prompt: bool = False
    hotwords: str | None = None
    prefix: str | None = None
    without_timestamps: bool = False
    max_initial_timestamp: float | None = 1.0
    suppress_tokens: str | Sequence[int] = "-1"
    suppress_blank: bool = True
    sample_len: int | None = None
    best_of: int | None = None
    length_penalty: float | None = None
    clip_timestamps: str | Sequence[float] = "0"
    word_timestamps: bool = False
    prepend_punctuations: str = "\"'“¿([{-"
    append_punctuations: str = "\"'.。,，!！?？:：”)]}、"
    hallucination_silence_threshold: float | None = None
    seed: int = 0
    multilingual: bool = False
    language_detection_segments: int = 1
    language_detection_threshold: float = 0.5
    require_speech: bool = True
    vad: bool = False
    vad_parameters: Mapping[str, float | None] | None = None

    def __post_init__(self) -> None:
        if self.vad_parameters and not (self.vad or self.require_speech):
            raise ValueError("vad_parameters work only with vad=True or require_speech=True")
        Parameters.of(self.vad_parameters or {})
        if self.hallucination_silence_threshold is not None and not self.word_timestamps:
            raise ValueError("hallucination_silence_threshold works only with word_timestamps=True")
        if not self.temperatures or min(self.temperatures) < 0:
            raise ValueError(f"temperature: expected numbers from 0, got {self.temperature!r}")
        if self.vad and self.clips != [(0, math.inf)]:
            raise ValueError("clip_timestamps works only without vad")
        if not 0 <= self.language_detection_threshold <= 1:
            value = self.language_detection_threshold
            raise ValueError(f"language_detection_threshold: expected a number from 0 to 1, got {value!r}")
        for name in "sample_len", "best_of", "language_detection_segments":
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or value < 1):
                raise ValueError(f"{name}: expected a whole number from 1, got {value!r}")
        if self.length_penalty is not None and not 0 <= self.length_penalty <= 1:
            raise ValueError(f"length_penalty: expected a number from 0 to 1, got {self.length_penalty!r}")
        if not isinstance(self.seed, int) or not 0 <= self.seed < SEEDS:
            raise ValueError(f"seed: expected a whole number from 0 to {SEEDS - 1}, got {self.seed!r}")
        for times in self.clips:
            if not 0 <= times[0] < times[1]:
                raise ValueError(f"clip_timestamps: expected starts with later ends, got {times[0]:g},{times[1]:g}")
        _ = self.suppressed

    @property
    def speech(self) -> Parameters:
        """What counts as speech."""
        return Parameters.of(self.vad_parameters or {})

    @property
    def temperatures(self) -> tuple[float, ...]:
        """The temperatures to try, in order."""
        return _numbers("temperature", self.temperature)

    @property
    def clips(self) -> list[tuple[float, float]]:
        """The parts to transcribe, each from a second to another; infinity is the end."""
        times = _numbers("clip_timestamps", self.clip_timestamps) or (0.0,)
        ends = [*times, math.inf] if len(times) % 2 else times
        return list(zip(ends[::2], ends[1::2], strict=True))

    @property
    def suppressed(self) -> list[int]:
        """The tokens of suppress_tokens, -1 included."""
        numbers = _numbers("suppress_tokens", self.suppress_tokens)
        if any(number != int(number) or number < -1 for number in numbers):
            raise ValueError(f"suppress_tokens: expected tokens or -1, got {self.suppress_tokens!r}")
        return [int(number) for number in numbers]


def descriptions() -> dict[str, str]:
    """Return what the docstring says of each option."""
    names = "|".join(field.name for field in fields(Options))
    parts = re.split(rf"^({names}): ", inspect.getdoc(Options) or "", flags=re.MULTILINE)
    return {name: " ".join(text.split()).rstrip(".") for name, text in zip(parts[1::2], parts[2::2], strict=True)}


def _numbers(name: str, value: object) -> tuple[float, ...]:
    """Return one or several numbers, which a text has with commas between them. Raises ValueError for anything else."""
    parts = [value] if not isinstance(value, str | Iterable) else value
    if isinstance(parts, str):
        parts = parts.split(",") if parts.strip() else []
    try:
        numbers = tuple(map(float, parts))
    except (TypeError, ValueError):
        numbers = (math.nan,)
    if not all(map(math.isfinite, numbers)):
        raise ValueError(f"{name}: expected numbers, got {value!r}")
    return numbers
