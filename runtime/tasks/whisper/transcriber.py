"""Speech to text: the loop over the windows of a recording.

Whisper transcribes windows of a fixed length. Recordings of any length are transcribed as in OpenAI's reference,
whisper/transcribe.py, at temperature 0. Positions in a recording are counted in frames of the spectrogram, as there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from intaglio.runtime.progress import Progress, silent
from intaglio.runtime.tasks.tokenizer import Tokenizer
from intaglio.runtime.tasks.whisper.cut import Piece, cut
from intaglio.runtime.tasks.whisper.options import Options
from intaglio.runtime.tasks.whisper.programs import Programs
from intaglio.runtime.tasks.whisper.settings import Settings
from intaglio.runtime.tasks.whisper.sound import Sound
from intaglio.runtime.tasks.whisper.transcript import Segment, Transcript
from intaglio.runtime.tasks.whisper.voice import Voice, restored

if TYPE_CHECKING:
    from intaglio.runtime.session import Session

DEFAULTS = Options()


class Transcriber:
    """Transcribes recordings with a session of a Whisper bundle. `settings`: the content of generation.json.

    Raises BadBundle if the settings do not fit the bundle's plan.
    """

    def __init__(self, session: Session, settings: Mapping[str, Any], tokenizer: Tokenizer) -> None:
        self.settings = Settings.parse(settings)
        self._tokenizer = tokenizer
        self._programs = Programs(session, self.settings)
        self._voice = Voice(session)

    def transcribe(self, samples: np.ndarray, options: Options = DEFAULTS, progress: Progress = silent) -> Transcript:
        """Return the transcript of `samples`, f32[n] at the model's rate (16 kHz): see runtime/audio.

        Raises ValueError for a language or task the model lacks.
        """
        if not options.vad:
            return self._transcribe(samples, options, progress)
        excerpt = self._voice.excerpt(samples, options.speech, progress)
        if not excerpt.spans:
            return Transcript("", [], self.settings.choices(options.language, options.task)[0], [])
        transcript = self._transcribe(excerpt.samples(samples), options, progress)
        return replace(transcript, segments=restored(transcript.segments, excerpt))

    def _transcribe(self, samples: np.ndarray, options: Options, progress: Progress) -> Transcript:
        s = self.settings
        language, task = s.choices(options.language, options.task)
        sound = Sound(samples, s)
        timed = sound.frames > s.frames if options.timestamps is None else options.timestamps
        self._programs.measure(sound)
        segments: list[Segment] = []
        seek = 0
        while seek < sound.frames:
            self._programs.listen(sound, seek)
            language = language or self._programs.detect_language()
            tokens = self._programs.decode(self._prompt(language, task, timed), timed)
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
