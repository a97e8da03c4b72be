"""whisper.cpp through cyllama, on the CPU or through Vulkan: GPUs that it sees it uses, see adapter.environment.

It transcribes short recordings greedily, without timestamps, and without another try at a higher temperature, and long
ones by its own defaults, greedily. It cannot say when it has the first token, takes no features, and keeps what its
encoder makes to itself: that is timed on a window of noise.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from cyllama.llama.llama_cpp import ggml_backend_dev_info
from cyllama.whisper import whisper_cpp

from benchmarks.engines.engine import Engine, First, Unsupported
from benchmarks.engines.llama_cpp import ggml_device
from benchmarks.speech import WINDOW, samples


class WhisperCppCpu(Engine):
    package = "cyllama-vulkan"

    def load(self, model: str) -> None:
        whisper_cpp.disable_logging()
        whisper_cpp.ggml_backend_load_all()
        self._context = whisper_cpp.WhisperContext(str(self.models.ggml), whisper_cpp.WhisperContextParams())
        self._options = whisper_cpp.WhisperFullParams(whisper_cpp.WhisperSamplingStrategy.GREEDY)
        self._options.n_threads = os.cpu_count()
        self._options.no_timestamps = self._options.single_segment = True
        self._options.temperature_inc = 0.0
        self._options.print_progress = False
        self._heard = False

    def adapter(self) -> str:
        return ggml_device(ggml_backend_dev_info())

    def encode(self, features: np.ndarray) -> None:
        if not self._heard:
            noise = np.random.default_rng(0).standard_normal(WINDOW, np.float32)
            self._options.max_tokens = 1
            self._context.full(noise, self._options)
            self._heard = True
        self._context.encode(0, os.cpu_count())

    def transcribe(self, recording: Path, first: First) -> list[int]:
        self._context.full(samples(recording), self._options)
        segments = range(self._context.full_n_segments())
        tokens = [
            self._context.full_get_token_id(s, i) for s in segments for i in range(self._context.full_n_tokens(s))
        ]
        return [token for token in tokens if token < self._context.token_eot()]

    def dictate(self, samples: np.ndarray) -> str:
        options = whisper_cpp.WhisperFullParams(whisper_cpp.WhisperSamplingStrategy.GREEDY)
        options.n_threads = os.cpu_count()
        options.print_progress = False
        self._context.full(samples, options)
        return "".join(self._context.full_get_segment_text(i) for i in range(self._context.full_n_segments()))


class WhisperCppVulkan(WhisperCppCpu):
    def load(self, model: str) -> None:
        super().load(model)
        if self.adapter() == "CPU":
            raise Unsupported("ggml sees no Vulkan device")
