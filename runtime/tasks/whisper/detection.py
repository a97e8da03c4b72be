"""The language of a recording, by the rules of faster-whisper: from the first windows of its speech."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from intaglio.runtime.tasks.whisper.options import Options
from intaglio.runtime.tasks.whisper.programs import Programs
from intaglio.runtime.tasks.whisper.settings import Settings
from intaglio.runtime.tasks.whisper.sound import Sound


def detected(programs: Programs, speech: Sound, settings: Settings, options: Options) -> tuple[str, float]:
    """Return the language of `speech` and its probability. The loudest frame must have been measured."""
    return chosen(_windows(programs, speech, settings, options), options.language_detection_threshold)


def chosen(windows: Iterable[Mapping[str, float]], threshold: float) -> tuple[str, float]:
    """Return the language of the first window that is sure of it, or else that of most windows, and its probability.

    windows: the probability of each language, at least one window.
    """
    votes: dict[str, list[float]] = {}
    for probabilities in windows:
        language, probability = likeliest(probabilities)
        if probability > threshold:
            return language, probability
        votes.setdefault(language, []).append(probability)
    language = max(votes, key=lambda name: len(votes[name]))
    return language, max(votes[language])


def likeliest(probabilities: Mapping[str, float]) -> tuple[str, float]:
    """Return the language with the highest probability, and that."""
    language = max(probabilities, key=probabilities.__getitem__)
    return language, probabilities[language]


def _windows(programs: Programs, speech: Sound, settings: Settings, options: Options) -> Iterator[Mapping[str, float]]:
    for seek in range(0, min(speech.frames, options.language_detection_segments * settings.frames), settings.frames):
        programs.listen(speech, seek, min(settings.frames, speech.frames - seek))
        yield programs.languages()
