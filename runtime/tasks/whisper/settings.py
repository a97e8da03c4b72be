"""The settings of a Whisper, in generation.json: its tokens, languages and tasks, and the sizes of its windows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from intaglio.runtime.contract import WHISPER_SAMPLING
from intaglio.runtime.errors import BadBundle
from intaglio.runtime.tasks.whisper import languages

TASKS = ("transcribe", "translate")
DETECTED = "auto"  # instead of a language: the model detects it
ENGLISH = "en"  # the language of models that have no other


@dataclass(frozen=True)
class Settings:
    """The content of generation.json: special tokens, those of languages and tasks, and the sizes of the spectrogram.

    Tokens below `end` are text; those from `first_timestamp` on are times. `previous` begins the text before a window,
    and the probability of `no_speech` after `start` is that of a window without speech. `suppress` is never chosen, and
    `suppress_first` not first. A sequence has up to `max_length` tokens.

    A window has `frames` frames, one every `hop` samples, each of `context` samples around its middle. Timestamps count
    in units of `frames_per_timestamp` frames. `names` has what each language is called, by its code. `silence` is the
    log10 of the lowest power in the spectrogram. `language` and `task` are the defaults; no language: it is detected.
    `alignment_heads`: pairs (layer, head) of the program `align`; none: words have no times.
    """

    start: int
    end: int
    no_timestamps: int
    first_timestamp: int
    previous: int
    no_speech: int
    multilingual: bool
    languages: dict[str, int]
    names: dict[str, list[str]]
    tasks: dict[str, int]
    suppress: list[int]
    suppress_first: list[int]
    vocabulary: int
    max_length: int
    rate: int
    hop: int
    context: int
    frames: int
    frames_per_timestamp: int
    silence: float
    language: str | None
    task: str
    alignment_heads: list[list[int]]

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> Settings:
        """Return the settings in a parsed generation.json. Raises BadBundle if they are not valid."""
        try:
            data = {"language": None, "task": TASKS[0]} | dict(data)
            settings = cls(**{field.name: data[field.name] for field in fields(cls)})
            codes, tasks = dict(settings.languages), dict(settings.tasks)
            names = {code: [str(name) for name in of] for code, of in settings.names.items()}
            heads = [(layer, head) for layer, head in settings.alignment_heads]
            order, suppressed = data["sampling_order"], [*settings.suppress, *settings.suppress_first]
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise BadBundle(f"generation.json is broken: {error}; compile the model again") from error
        special = ("start", "end", "no_timestamps", "first_timestamp", "previous", "no_speech")
        tokens = [*(getattr(settings, name) for name in special), *suppressed, *codes.values(), *tasks.values()]
        tokens += [number for pair in heads for number in pair]
        whole = ("vocabulary", "max_length", "rate", "hop", "context", "frames", "frames_per_timestamp")
        sizes = [getattr(settings, name) for name in whole]
        counted = all(type(n) is int and n >= 0 for n in [*tokens, *sizes]) and all(sizes)
        if not counted or type(settings.silence) is not float or not settings.silence < 0:
            raise BadBundle("generation.json is broken: a number is missing; compile the model again")
        if order != [*WHISPER_SAMPLING]:
            raise BadBundle(f"generation.json is broken: sampling_order is {order}; compile the model again")
        if settings.multilingual and not (codes and tasks):
            raise BadBundle("generation.json is broken: languages or tasks are missing; compile the model again")
        if names.keys() != (codes.keys() if settings.multilingual else {ENGLISH}) or not all(names.values()):
            raise BadBundle("generation.json is broken: a language has no name; compile the model again")
        if settings.language not in (None, *codes) or settings.task not in TASKS:
            raise BadBundle("generation.json is broken: unknown language or task; compile the model again")
        return settings

    def seconds(self, frames: int) -> float:
        return frames * self.hop / self.rate

    def choices(self, language: str | None, task: str | None) -> tuple[str | None, str]:
        """Return the language and the task, by default those of the settings. The language is None to be detected.

        Raises ValueError for a language or a task that the model does not know.
        """
        task = task or self.task
        detected = language is not None and language.strip().lower() == DETECTED
        language = None if detected else language or self.language
        if task not in TASKS or (self.multilingual and task not in self.tasks):
            raise ValueError(f"unknown task {task!r}; expected {' or '.join(self.tasks or TASKS)}")
        code = None if language is None else languages.code(language, self.names)
        if not self.multilingual:
            if (language is not None and code != ENGLISH) or task != "transcribe":
                what = f"has no language {language!r}" if task == "transcribe" else f"cannot {task}"
                raise ValueError(f"this model is English-only: it {what}; compile a multilingual Whisper for that")
            return ENGLISH, task
        if language is not None and code is None:
            close = languages.similar(language, self.names)
            some = f"did you mean {' or '.join(close)}?" if close else f"this model supports {len(self.names)}"
            raise ValueError(f"unknown language {language!r}; {some}; `intaglio languages BUNDLE` lists them")
        return code, task
