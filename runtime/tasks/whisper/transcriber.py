"""Speech to text: whole recordings.

Whisper transcribes windows of a fixed length. Positions in a recording are counted in frames of the spectrogram, as in
OpenAI's reference.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from intaglio.runtime.progress import Progress, silent
from intaglio.runtime.tasks.stream import Stream
from intaglio.runtime.tasks.tokenizer import Tokenizer
from intaglio.runtime.tasks.voice.speech import Excerpt, Span, beginning
from intaglio.runtime.tasks.whisper.course import Course
from intaglio.runtime.tasks.whisper.detection import detected
from intaglio.runtime.tasks.whisper.growing import GrowingSpeech
from intaglio.runtime.tasks.whisper.notes import on_end
from intaglio.runtime.tasks.whisper.options import Options
from intaglio.runtime.tasks.whisper.programs import Programs
from intaglio.runtime.tasks.whisper.settings import Settings
from intaglio.runtime.tasks.whisper.sound import Sound
from intaglio.runtime.tasks.whisper.transcript import Segment, Transcript
from intaglio.runtime.tasks.whisper.voice import SpeechFilter, Voice, restored

if TYPE_CHECKING:
    from intaglio.runtime.session import Session

Hearing = Generator[Segment, None, Transcript]
DEFAULTS, EVERYTHING = Options(), SpeechFilter()


class Transcriber:
    """Transcribes recordings with a session of a Whisper bundle. `settings`: the content of generation.json.

    Raises BadBundle if the settings do not fit the bundle's plan.
    """

    def __init__(self, session: Session, settings: Mapping[str, Any], tokenizer: Tokenizer) -> None:
        self.settings = Settings.parse(settings)
        self._session, self._tokenizer = session, tokenizer
        self.programs = Programs(session, self.settings)
        self.voice = Voice(session)

    def transcribe(self, samples: np.ndarray, options: Options = DEFAULTS, progress: Progress = silent) -> Transcript:
        """Return the transcript of `samples`, f32[n] at the model's rate (16 kHz): see runtime/audio.

        Raises ValueError for a language or task the model lacks.
        """
        return self.stream(samples, options, progress).finish()

    def stream(
        self, samples: np.ndarray, options: Options = DEFAULTS, progress: Progress = silent
    ) -> Stream[Segment, Transcript]:
        """Return a stream of the segments as they are heard. Others may use the session between two of them."""
        return Stream(self._heard(samples, options, progress), self._session.lock)

    def _heard(self, samples: np.ndarray, options: Options, progress: Progress) -> Hearing:
        whole = options.clips == [(0, math.inf)]
        transcript = yield from self._speech(samples, options, progress)
        ends = on_end(transcript.segments, samples, self.settings.rate) if whole else []
        return replace(transcript, notes=[*transcript.notes, *ends], duration=len(samples) / self.settings.rate)

    def _speech(self, samples: np.ndarray, options: Options, progress: Progress) -> Hearing:
        unknown = self.settings.choices(options.language, options.task)[0] is None
        if not (options.vad or options.require_speech or unknown):
            return (yield from self._windows(samples, self.course(options), options, progress))
        spans = self.voice.spans(samples, options.speech, progress)
        course = self.course(options, SpeechFilter(spans if options.require_speech and not options.vad else None))
        if not spans and (options.vad or options.require_speech):
            return course.transcript()
        if not options.vad:
            first = self._beginning(samples, spans, options) if unknown else None
            return (yield from self._windows(samples, course, options, progress, first))
        excerpt = Excerpt(spans)
        segments = list[Segment]()
        windows = Stream(self._windows(excerpt.samples(samples), course, options, progress), nullcontext())
        for segment in windows:
            segments += restored([segment], excerpt)
            yield segments[-1]
        return replace(windows.finish(), segments=segments)

    def course(self, options: Options, speech: SpeechFilter = EVERYTHING) -> Course:
        """Return the transcription of a recording, at its beginning. speech: which parts of it count."""
        return Course(self.programs, self._tokenizer, self.settings, options, speech)

    def _windows(
        self,
        samples: np.ndarray,
        course: Course,
        options: Options,
        progress: Progress,
        speech: Sound | None = None,
    ) -> Hearing:
        """Transcribe all of `samples`. The language is that of `speech`, which is None if it is that of `samples`."""
        sound = Sound(samples, self.settings)
        clips = self._clips(options, sound)
        if speech is not None:
            course.detected(*self.detect(speech, options))
        self._measure(sound, clips[0][0])
        if course.language is None:
            course.detected(*detected(self.programs, sound, self.settings, options))
        for start, end in clips:
            course.seek = start
            while course.seek < end:
                told = len(course.segments)
                course.advance(sound, end)
                progress("transcribing", min(course.seek, sound.frames), sound.frames)
                yield from course.segments[told:]
        return course.transcript()

    def detect(self, speech: Sound, options: Options) -> tuple[str, float]:
        """Return the language of `speech` and its probability. It changes the state `loudest`."""
        self._measure(speech, 0)
        return detected(self.programs, speech, self.settings, options)

    def speech(self, options: Options) -> GrowingSpeech:
        """Return an empty recording, of which speech is heard."""
        return GrowingSpeech(self.settings, self.voice.detector, options.speech)

    def enough(self, options: Options) -> int:
        """Return how many samples of speech are heard to detect the language."""
        return options.language_detection_segments * self.settings.frames * self.settings.hop

    def _beginning(self, samples: np.ndarray, spans: list[Span], options: Options) -> Sound | None:
        """Return the first speech in a recording, or None if all of it is speech, or nothing."""
        if not spans or spans == [Span(0, len(samples))]:
            return None
        count = self.enough(options)
        return Sound(Excerpt(beginning(spans, count)).samples(samples)[:count], self.settings)

    def _measure(self, sound: Sound, first: int) -> None:
        """Measure the loudest frame. If the window at `first` is all of a recording, hearing it measures it."""
        alone = first == 0 and sound.frames <= self.settings.frames
        self.programs.measure(sound, self.settings.frames if alone else 0)

    def _clips(self, options: Options, sound: Sound) -> list[tuple[int, int]]:
        """Return the first frame of each part to transcribe, and that after its last one."""
        second = self.settings.rate / self.settings.hop
        return [(round(start * second), round(min(end * second, sound.frames))) for start, end in options.clips]
