"""Speech to text: the loop over the windows of a recording.

Whisper transcribes windows of a fixed length. Recordings of any length are transcribed as in OpenAI's reference,
whisper/transcribe.py, at temperature 0. Positions in a recording are counted in frames of the spectrogram, as there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from intaglio.runtime.progress import Progress, silent
from intaglio.runtime.tasks.audio import mono
from intaglio.runtime.tasks.tokenizer import Tokenizer
from intaglio.runtime.tasks.whisper.cut import Piece, cut
from intaglio.runtime.tasks.whisper.options import Options
from intaglio.runtime.tasks.whisper.programs import Programs
from intaglio.runtime.tasks.whisper.rules import Rules
from intaglio.runtime.tasks.whisper.settings import Settings
from intaglio.runtime.tasks.whisper.sound import Sound
from intaglio.runtime.tasks.whisper.transcript import Segment, Transcript

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

    def transcribe(self, samples: np.ndarray, options: Options = DEFAULTS, progress: Progress = silent) -> Transcript:
        """Return the transcript of `samples`, f32[n] at the model's rate (16 kHz).

        Raises AudioError for samples that are not a recording, ValueError for a language or task the model lacks.
        """
        s = self.settings
        language, task = s.choices(options.language, options.task)
        sound = Sound(mono(samples, s.rate, s.rate), s)
        timed = sound.frames > s.frames if options.timestamps is None else options.timestamps
        rules = Rules(timed, s.suppress, s.suppress_first, s.max_initial_timestamp, s.vocabulary)
        self._programs.measure(sound)
        segments: list[Segment] = []
        seek = 0
        while seek < sound.frames:
            self._programs.listen(sound, seek)
            language = language or self._likeliest()
            prompt = self._prompt(language, task, timed)
            tokens = self._programs.decode(prompt, rules, 0, 0, s.max_length - len(prompt)).tokens
            size = min(s.frames, sound.frames - seek)
            pieces, advance = cut(tokens, size, s) if timed else ([Piece(0, size, tokens)], size)
            segments += [segment for piece in pieces if (segment := self._segment(seek, piece)) is not None]
            seek += advance
            progress("transcribing", min(seek, sound.frames), sound.frames)
        assert language is not None  # a recording has at least one frame, so its language was detected
        tokens = [token for segment in segments for token in segment.tokens]
        return Transcript(self._tokenizer.decode(tokens).strip(), segments, language, tokens)

    def _likeliest(self) -> str:
        languages = self._programs.languages()
        return max(languages, key=languages.__getitem__)

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
