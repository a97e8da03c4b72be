"""faster-whisper on the CPU: CTranslate2 in f32, from the files that the ONNX model was made of.

Short recordings it transcribes greedily and without timestamps, long ones by its own defaults: with beams of five, and
without voice activity detection.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from faster_whisper import WhisperModel
from faster_whisper.transcribe import get_ctranslate2_storage

from benchmarks.engines.engine import Engine, First
from benchmarks.speech import samples

END = 50256  # of tiny.en; tokens below it are text


class FasterWhisper(Engine):
    package = "faster-whisper"

    def load(self, model: str) -> None:
        folder, threads = str(self.models.ctranslate2), os.cpu_count() or 1
        self._model = WhisperModel(folder, device="cpu", compute_type="float32", cpu_threads=threads)

    def encode(self, features: np.ndarray) -> np.ndarray:
        return np.asarray(self._model.model.encode(get_ctranslate2_storage(features), to_cpu=True))

    def transcribe(self, recording: Path, first: First) -> list[int]:
        segments, _ = self._model.transcribe(
            samples(recording), beam_size=1, temperature=0.0, without_timestamps=True, language="en"
        )
        return [token for segment in segments for token in segment.tokens if token < END]

    def dictate(self, samples: np.ndarray) -> str:
        segments, _ = self._model.transcribe(samples)
        return "".join(segment.text for segment in segments)
