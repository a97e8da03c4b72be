"""A recording, divided into windows. Positions are counted in frames of the spectrogram, as in OpenAI's reference."""

from __future__ import annotations

import numpy as np

from intaglio.runtime.tasks.whisper.settings import Settings


class Sound:
    """A recording, divided into windows.

    forgotten: samples before `samples` that are no longer kept, so that windows there cannot be asked for.
    frames: the number of frames of the recording. seconds: their time. audible: the number of frames that contain some
    of its samples, which is a little larger.
    loudest: its largest log10 power, once it is measured; of a single window, that of what follows it.
    """

    def __init__(self, samples: np.ndarray, settings: Settings, forgotten: int = 0) -> None:
        self._settings, self._half = settings, settings.context // 2
        self._samples, self._forgotten = samples, forgotten
        self.loudest: float | None = None
        length = forgotten + len(samples)
        self.frames = max(1, length // settings.hop)
        self.seconds = settings.seconds(self.frames)
        self.audible = (length + self._half) // settings.hop + 1

    def window(self, first: int) -> np.ndarray:
        """Return the samples under the window of frames from `first` on, f32[1, 1, hop * frames + context].

        Samples outside the recording are 0. The program `mel` mirrors the recording at its start.
        """
        s = self._settings
        length = s.hop * s.frames + s.context
        start = first * s.hop - self._half - self._forgotten
        assert start >= 0 or not self._forgotten
        part = self._samples[max(0, start) : start + length]
        before = max(0, -start)
        return np.pad(part, (before, length - before - len(part)))[None, None]
