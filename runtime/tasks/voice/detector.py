"""Where a recording has speech: the probabilities of Silero VAD, whose bundle ships with the runtime.

The model reads windows of 512 samples at 16 kHz, each after the last 64 samples of the window before. It carries its
state from window to window, so a recording can come in parts of any length. https://github.com/snakers4/silero-vad
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from intaglio.runtime import designs_file, plan_file
from intaglio.runtime.contract import MAIN
from intaglio.runtime.engine import Engine
from intaglio.runtime.progress import Progress, silent
from intaglio.runtime.tasks.voice.speech import RATE, WINDOW

if TYPE_CHECKING:
    import wgpu

BUNDLE = Path(__file__).parent / "silero.bundle"
_CONTEXT = 64  # samples before a window
_UNITS = 128  # numbers in each of the two states


class Detector:
    """Silero VAD on `device`, or on the best adapter. Raises BadBundle, NoAdapter, DeviceLimit."""

    def __init__(self, device: wgpu.GPUDevice | None = None) -> None:
        plan = designs_file.read(BUNDLE, plan_file.read(BUNDLE))
        self._session = Engine(BUNDLE, plan, device=device).session()
        ((_, self._most),) = plan.symbols.values()

    def probabilities(self, samples: np.ndarray, progress: Progress = silent) -> np.ndarray:
        """Return the probability of speech in each window of `samples`, f32[n] at 16 kHz: f32[n // 512 + 1].

        Zeros fill the last window, as in faster-whisper.
        """
        hearing, size, parts = Hearing(self), self._most * WINDOW, []
        for first in range(0, len(samples), size):
            progress("finding speech", first // RATE, len(samples) // RATE)
            parts.append(hearing.add(samples[first : first + size]))
        return np.concatenate([*parts, hearing.end()])

    def run(self, rows: np.ndarray, states: dict[str, np.ndarray]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Return the probabilities of `rows`, f32[n, 64 + 512], that follow each other, and the states after them."""
        probabilities = [np.empty(0, np.float32)]
        for first in range(0, len(rows), self._most):
            outputs = self._session.run(MAIN, {"input": rows[first : first + self._most], **states})
            states = {"h": outputs["hn"], "c": outputs["cn"]}
            probabilities.append(outputs["speech_probs"])
        return np.concatenate(probabilities), states


class Hearing:
    """A recording that comes in parts. `detector` may hear several recordings in turns."""

    def __init__(self, detector: Detector) -> None:
        self._detector = detector
        self._states = {name: np.zeros((1, 1, _UNITS), np.float32) for name in ("h", "c")}
        self._rest = np.zeros(_CONTEXT, np.float32)  # the context of the next window and the samples after it

    def add(self, samples: np.ndarray) -> np.ndarray:
        """Return the probabilities of the windows that these samples complete."""
        known = np.concatenate([self._rest, samples])
        count = (len(known) - _CONTEXT) // WINDOW
        rows = np.lib.stride_tricks.sliding_window_view(known, _CONTEXT + WINDOW)[::WINDOW] if count else None
        self._rest = known[count * WINDOW :]
        if rows is None:
            return np.empty(0, np.float32)
        probabilities, self._states = self._detector.run(rows[:count], self._states)
        return probabilities

    def end(self) -> np.ndarray:
        """Return the probability of the last window, which zeros fill."""
        return self.add(np.zeros(_CONTEXT + WINDOW - len(self._rest), np.float32))
