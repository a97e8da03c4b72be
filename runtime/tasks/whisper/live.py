"""Live transcription: chunks of samples come in, and stable text with a changing tail comes out.

At every update the rest of the sound is transcribed again, as if the recording ended there. Text becomes stable in two
ways. A window of 30 s that is complete is transcribed for good, because the loop over windows never returns to it; its
samples are then dropped. Before that, words on which several updates in a row agree become stable ("local agreement",
Macháček et al. 2023, https://arxiv.org/abs/2307.14743), except the last word of an update, which the sound may cut.

The last update transcribes what `transcribe` would, with one exception: a window that was complete knows only the
loudest frame and the speech up to then, not those of the whole recording. Stable text stays even there, although the
model may change its mind about words on which updates agreed, mostly about a comma; `text` is then what it says at the
end.
"""

from __future__ import annotations

import math
import time
import unicodedata
from collections import deque
from dataclasses import dataclass, replace

import numpy as np

from intaglio.runtime.tasks.whisper.course import Course
from intaglio.runtime.tasks.whisper.growing import Growing, GrowingFiltered, GrowingSpeech
from intaglio.runtime.tasks.whisper.options import Options
from intaglio.runtime.tasks.whisper.sound import Sound
from intaglio.runtime.tasks.whisper.transcriber import Transcriber
from intaglio.runtime.tasks.whisper.transcript import Transcript
from intaglio.runtime.tasks.whisper.voice import restored


@dataclass(frozen=True)
class Heard:
    """What was heard up to now.

    stable: text that does not change any more; each update goes on with it. tail: the text after it, which may change.
    seconds: the length of the sound up to now. latency: the seconds from the arrival of its last samples to this
    update. transcript: the whole result, in the last update only, which has no tail.
    """

    stable: str
    tail: str
    seconds: float
    latency: float
    transcript: Transcript | None = None

    @property
    def text(self) -> str:
        """The stable text and the tail; of the last update, the text of the transcript."""
        return self.stable + self.tail if self.transcript is None else self.transcript.text


class Live:
    """The live transcription of one recording.

    interval: an update needs this many seconds of new sound. agreement: words are stable when this many updates in a
    row agree on them. Raises ValueError for these out of range, and for a language or task that the model lacks.
    """

    def __init__(self, transcriber: Transcriber, options: Options, interval: float = 1.0, agreement: int = 2) -> None:
        if not interval > 0:
            raise ValueError(f"expected an interval of more than 0 seconds, got {interval!r}")
        if type(agreement) is not int or agreement < 2:
            raise ValueError(f"expected an agreement of 2 or more updates, got {agreement!r}")
        self._transcriber, self._options = transcriber, options
        self._programs, self._settings = transcriber.programs, transcriber.settings
        if options.clips != [(0, math.inf)]:
            raise ValueError("clip_timestamps work only with whole recordings, not with live sound")
        self._growing = growing(transcriber, options)
        self._course = transcriber.course(options, self._growing.speech)
        self._language = self._course.language is None
        self._speech = transcriber.speech(options) if self._language and not options.vad else None
        self._wait = round(interval * self._settings.rate)
        self._recent: deque[str] = deque(maxlen=agreement)  # the texts of the last updates
        self._stable = ""
        self._samples = self._updated = 0  # samples that came, and those of them in the last update
        self._arrived = time.monotonic()
        self._measured, self._loudest = 0, None  # frames that were measured for good, and the loudest of them

    def add(self, samples: np.ndarray) -> bool:
        """Append f32[n] at 16 kHz. Returns whether an update is due."""
        self._growing.add(samples)
        if self._speech is not None:
            self._speech.add(samples)
        self._samples += len(samples)
        self._arrived = time.monotonic()
        return self._samples - self._updated >= self._wait

    def update(self) -> Heard:
        """Transcribe what is not stable yet."""
        self._updated = self._samples
        text = self._transcribe().transcript().text
        self._recent.append(text)
        if len(self._recent) == self._recent.maxlen:
            self._settle(agreed(list(self._recent)))
        return self._heard(text)

    def finish(self) -> Heard:
        """Transcribe the rest. All text is then stable."""
        self._growing.end()
        transcript = replace(self._transcribe().transcript(), duration=self._samples / self._settings.rate)
        if (excerpt := self._growing.excerpt()) is not None:
            transcript = replace(transcript, segments=restored(transcript.segments, excerpt))
        self._stable = extended(self._stable, transcript.text)
        return replace(self._heard(self._stable), transcript=transcript)

    def _heard(self, text: str) -> Heard:
        tail = extended(self._stable, text)[len(self._stable) :]
        now = time.monotonic()
        return Heard(self._stable, tail, self._samples / self._settings.rate, now - self._arrived)

    def _transcribe(self) -> Course:
        """Return the transcription of all sound so far. Complete windows are transcribed for good."""
        sound = self._growing.sound()
        if sound is None:
            return self._course
        if self._language:
            self._detect(sound)
        self._measure(sound)
        course = self._course
        while self._end(course.seek) <= self._growing.decided:
            course.advance(sound)
            self._settle(course.transcript().text)
        first = min(course.seek, self._measured) * self._settings.hop - self._settings.context
        self._growing.forget(first)
        course = course.copy()
        while course.seek < sound.frames:
            course.advance(sound)
        return course

    def _detect(self, sound: Sound) -> None:
        """Detect the language of the first speech, until there is enough of it, or it is about to be dropped."""
        first = self._speech or self._growing
        speech = first.sound() or (None if self._course.seek else sound)  # the first windows are all there, or nothing
        if speech is not None:
            self._course.detected(*self._transcriber.detect(speech, self._options))
        window = self._settings.frames * self._settings.hop
        if first.decided >= (window if self._speech is None else self._transcriber.enough(self._options)):
            self._language, self._speech = False, None

    def _measure(self, sound: Sound) -> None:
        """Measure the loudest frame so far. Complete windows are measured once."""
        while self._end(self._measured) <= self._growing.decided:
            self._loudest = self._programs.loudest(sound, self._measured, self._loudest)
            self._measured += self._settings.frames
        frames = self._settings.frames
        alone = self._course.seek == 0 and sound.frames <= frames  # the first window measures all of it
        self._programs.measure(sound, frames if alone else self._measured, self._loudest)

    def _end(self, first: int) -> int:
        """Return the sample before which all samples of the window from the frame `first` on lie."""
        s = self._settings
        return (first + s.frames) * s.hop + s.context

    def _settle(self, text: str) -> None:
        """Make a text stable."""
        self._stable = extended(self._stable, text)


def growing(transcriber: Transcriber, options: Options) -> Growing:
    """Return an empty recording, of which the model will hear all, the parts with speech, or with `vad` the speech."""
    if not (options.vad or options.require_speech):
        return Growing(transcriber.settings)
    kind = GrowingSpeech if options.vad else GrowingFiltered
    return kind(transcriber.settings, transcriber.voice.detector, options.speech)


def agreed(texts: list[str]) -> str:
    """Return the words that all texts begin with, but not the last word of any text.

    Where a script has no spaces, a character counts as a word.
    """
    differing = (i for i, letters in enumerate(zip(*texts, strict=False)) if len(set(letters)) > 1)
    common = next(differing, min(map(len, texts)))
    end = next((i for i in range(common, 0, -1) if all(_parted(text, i) for text in texts)), 0)
    return texts[0][:end].rstrip()


def _parted(text: str, at: int) -> bool:
    """Return whether a word ends before the character `at`, and another one follows."""
    if at >= len(text):
        return False
    return text[at].isspace() or _alone(text[at]) or _alone(text[at - 1])


def _alone(character: str) -> bool:
    """Return whether the character is a word of its own: wide letters, such as those of Chinese and Japanese."""
    return unicodedata.east_asian_width(character) in "WF" and unicodedata.category(character) == "Lo"


def extended(stable: str, text: str) -> str:
    """Return a text that begins with `stable` and goes on like `text`: after as many words if they differ, or, without
    spaces, after as many characters.
    """
    if text.startswith(stable):
        return text
    if " " not in stable:
        return stable + text[len(stable) :]
    rest = text.split()[len(stable.split()) :]
    return " ".join([stable, *rest]) if rest else stable
