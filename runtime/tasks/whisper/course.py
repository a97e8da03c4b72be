"""How far the transcription of a recording has come. Each window depends only on those before it, so a recording that
still grows can be transcribed as soon as its windows are complete, and a copy can try what is not complete yet.

The loop is that of OpenAI's reference, whisper/transcribe.py, at temperature 0.
"""

from __future__ import annotations

import copy
from typing import Self

from intaglio.runtime.tasks.tokenizer import Tokenizer
from intaglio.runtime.tasks.whisper.cut import Piece, cut
from intaglio.runtime.tasks.whisper.options import Options
from intaglio.runtime.tasks.whisper.programs import Programs
from intaglio.runtime.tasks.whisper.rules import Rules
from intaglio.runtime.tasks.whisper.settings import Settings
from intaglio.runtime.tasks.whisper.sound import Sound
from intaglio.runtime.tasks.whisper.transcript import Segment, Transcript


class Course:
    """The transcription of one recording, up to the frame `seek`. Raises ValueError for a language or task that the
    model lacks.

    segments: those before `seek`. timed: whether the model writes timestamps.
    """

    def __init__(
        self, programs: Programs, tokenizer: Tokenizer, settings: Settings, options: Options, timed: bool
    ) -> None:
        self._programs, self._tokenizer, self._settings = programs, tokenizer, settings
        self._language, self._task = settings.choices(options.language, options.task)
        self._timed = timed
        self.seek = 0
        self.segments: list[Segment] = []

    def copy(self) -> Self:
        """Return a course that goes on by itself from here."""
        other = copy.copy(self)
        other.segments = list(self.segments)
        return other

    def advance(self, sound: Sound) -> None:
        """Transcribe the window at `seek`. The loudest frame of the recording must have been measured."""
        s = self._settings
        self._programs.listen(sound, self.seek)
        self._language = self._language or self._likeliest()
        prompt = self._prompt(self._language)
        rules = Rules(self._timed, s.suppress, s.suppress_first, s.max_initial_timestamp, s.vocabulary)
        tokens = self._programs.decode(prompt, rules, 0, 0, s.max_length - len(prompt)).tokens
        size = min(s.frames, sound.frames - self.seek)
        pieces, advance = cut(tokens, size, s) if self._timed else ([Piece(0, size, tokens)], size)
        self.segments += [segment for piece in pieces if (segment := self._segment(piece)) is not None]
        self.seek += advance

    def transcript(self) -> Transcript:
        tokens = [token for segment in self.segments for token in segment.tokens]
        return Transcript(self._tokenizer.decode(tokens).strip(), self.segments, self._language, tokens)

    def _likeliest(self) -> str:
        languages = self._programs.languages()
        return max(languages, key=languages.__getitem__)

    def _prompt(self, language: str) -> list[int]:
        s = self._settings
        spoken = [s.languages[language], s.tasks[self._task]] if s.multilingual else []
        return [s.start, *spoken, *([] if self._timed else [s.no_timestamps])]

    def _segment(self, piece: Piece) -> Segment | None:
        """Return a piece of the window as a segment, or None if it has no text or no duration."""
        tokens = [token for token in piece.tokens if token < self._settings.end]
        text = self._tokenizer.decode(tokens)
        if not tokens or text.isspace() or piece.start == piece.end:
            return None
        start, end = (self._settings.seconds(self.seek + frames) for frames in (piece.start, piece.end))
        return Segment(start, end, text.strip(), tokens)
