"""How far the transcription of a recording has come. Each window depends only on those before it, so a recording that
still grows can be transcribed as soon as its windows are complete, and a copy can try what is not complete yet.

The loop is that of OpenAI's reference, whisper/transcribe.py.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Self

from intaglio.runtime.tasks.tokenizer import Tokenizer
from intaglio.runtime.tasks.whisper.attempts import Attempt, attempt
from intaglio.runtime.tasks.whisper.cut import Piece, cut, is_finished
from intaglio.runtime.tasks.whisper.detection import likeliest
from intaglio.runtime.tasks.whisper.history import History
from intaglio.runtime.tasks.whisper.options import Options
from intaglio.runtime.tasks.whisper.programs import Decoded, Programs
from intaglio.runtime.tasks.whisper.rules import Rules
from intaglio.runtime.tasks.whisper.settings import Settings
from intaglio.runtime.tasks.whisper.sound import Sound
from intaglio.runtime.tasks.whisper.timing import Place, Timed, Timer
from intaglio.runtime.tasks.whisper.transcript import Segment, Transcript
from intaglio.runtime.tasks.whisper.voice import SpeechFilter

HOT = 0.5  # the text of a window at a higher temperature is not continued


class Course:
    """The transcription of one recording, up to the frame `seek`. Raises ValueError for a language or task that the
    model lacks.

    language: None as long as it is not known. segments: those before `seek`. notes: what a user should know about them.
    """

    def __init__(
        self, programs: Programs, tokenizer: Tokenizer, settings: Settings, options: Options, speech: SpeechFilter
    ) -> None:
        self._programs, self._tokenizer, self._settings, self._options = programs, tokenizer, settings, options
        self.language, self._task = settings.choices(options.language, options.task)
        if options.multilingual and not settings.multilingual:
            raise ValueError("this model is English-only; compile a multilingual Whisper for multilingual=True")
        self._probability = 1.0
        self._speech, self._silent = speech, 0  # how many segments had text, and no speech
        self._rules = Rules.of(options, settings)
        words = {name: self._encoded(getattr(options, name)) for name in ("initial_prompt", "hotwords", "prefix")}
        self._prefix = words["prefix"]
        hot = () if self._prefix else words["hotwords"]
        self._history = History(words["initial_prompt"], options.carry_initial_prompt, hot, programs.context // 2 - 1)
        if options.word_timestamps and not programs.aligns:
            raise ValueError("this model has no alignment heads, so its words have no times")
        self._timer = Timer(programs, tokenizer, settings, options) if options.word_timestamps else None
        self._last = 0.0  # where speech ended, in seconds
        self.seek = 0
        self.segments: list[Segment] = []
        self.notes: list[str] = []

    def detected(self, language: str, probability: float) -> None:
        """Go on in this language."""
        self.language, self._probability = language, probability

    def _spoken(self) -> str:
        """Return the language of the window that was encoded last."""
        if self.language is not None and not self._options.multilingual:
            return self.language
        language, probability = likeliest(self._programs.languages())
        if self.language is None:
            self.detected(language, probability)
        return language

    def copy(self) -> Self:
        """Return a course that goes on by itself from here."""
        other = copy.copy(self)
        other.segments, other.notes = list(self.segments), list(self.notes)
        return other

    def advance(self, sound: Sound, end: int | None = None) -> None:
        """Transcribe the window at `seek`, up to the frame `end`. None: the end of the recording.

        The loudest frame of the recording must have been measured.
        """
        s = self._settings
        size = min(s.frames, sound.frames - self.seek, (sound.frames if end is None else end) - self.seek)
        if not self._speech.passes(s.seconds(self.seek), s.seconds(self.seek + size)):
            self.seek += size
            return
        self._programs.listen(sound, self.seek, size)
        language = self._spoken()
        result = self._attempt(self._prompt(language))
        self._prefix = ()
        if result.silent(self._options):
            self.seek += size
            return
        tokens = result.decoded.tokens
        pieces, advance = cut(tokens, size, s) if self._rules.timed else ([Piece(0, size, tokens)], size)
        place = Place(self.seek, size, sound.frames, advance, is_finished(tokens, s))
        timed = self._timed([self._segment(piece, result) for piece in pieces], place, language)
        self._add(timed.segments, sound.seconds, result.temperature)
        self.seek, self._last = timed.seek, timed.last

    def _timed(self, segments: list[Segment], place: Place, language: str) -> Timed:
        """Return the segments of the window, with the times of words if they are asked for."""
        if self._timer is None:
            return Timed(segments, place.seek + place.advance, self._last)
        prompt = [*self._beginning(language), self._settings.no_timestamps]
        return self._timer.timed(segments, prompt, language, place, self._last)

    def _add(self, segments: list[Segment], duration: float, temperature: float) -> None:
        """Add the segments that have a text, a duration and speech."""
        texts = [segment for segment in segments if segment.text and segment.start != segment.end]
        spoken = [segment for segment in texts if self._speech.passes(segment.start, segment.end)]
        self._silent += len(texts) - len(spoken)
        said = [token for segment in spoken for token in segment.tokens]
        continued = self._options.condition_on_previous_text and temperature <= HOT
        self._history = self._history.after(said, continued)
        for segment in spoken:
            start, end = min(segment.start, duration), min(segment.end, duration)
            self.segments.append(replace(segment, start=start, end=end, id=len(self.segments)))

    def transcript(self) -> Transcript:
        tokens = [t for segment in self.segments for t in segment.tokens if t < self._settings.end]
        text = self._tokenizer.decode(tokens).strip()
        notes = list(self.notes)
        if self._silent:
            count = f"{self._silent} segment{'s' * (self._silent > 1)}"
            notes.append(f"left out {count} without speech; --no-require-speech keeps such text")
        name = self._settings.names[self.language][0] if self.language else None
        transcript = Transcript(text, self.segments, self.language, tokens, self._probability, notes=notes)
        return replace(transcript, language_name=name, task=self._task)

    def _encoded(self, text: str | None) -> tuple[int, ...]:
        """Return the tokens of a text, as they follow others."""
        return tuple(self._tokenizer.encode(f" {text.strip()}", special=False)) if text else ()

    def _prompt(self, language: str) -> list[int]:
        s, before = self._settings, self._history.tokens
        untimed = [] if self._rules.timed else [s.no_timestamps]
        return [*([s.previous, *before] if before else []), *self._beginning(language), *untimed, *self._prefix]

    def _beginning(self, language: str) -> list[int]:
        """Return the tokens that begin every sequence."""
        s = self._settings
        return [s.start, *([s.languages[language], s.tasks[self._task]] if s.multilingual else [])]

    def _attempt(self, prompt: list[int]) -> Attempt:
        limit = min(self._options.sample_len or self._programs.context // 2, self._settings.max_length - len(prompt))

        def decode(temperature: float, seed: int) -> Decoded:
            return self._programs.decode(prompt, self._rules, temperature, seed, limit)

        result = attempt(decode, self._text, self._options, self.seek)
        if not result.decoded.finished:
            tokens = result.decoded.tokens
            end = self._text(tokens)[-30:]
            self.notes.append(f"text was cut after {len(tokens)} tokens, at {end!r}; what follows may be missing")
        return result

    def _text(self, tokens: list[int]) -> str:
        return self._tokenizer.decode([token for token in tokens if token < self._settings.end]).strip()

    def _segment(self, piece: Piece, result: Attempt) -> Segment:
        """Return a piece of the window as a segment."""
        start, end = (self._settings.seconds(self.seek + at) for at in (piece.start, piece.end))
        decoded = result.decoded
        return Segment(
            start,
            end,
            self._text(list(piece.tokens)),
            list(piece.tokens),
            seek=self.seek,
            temperature=result.temperature,
            avg_logprob=decoded.average,
            compression_ratio=result.compression_ratio,
            no_speech_prob=decoded.no_speech,
        )
