"""Whisper's log-mel spectrogram in numpy, for engines that take features; after whisper/audio.py of OpenAI."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from intaglio.compiler.models.whisper.mel import FLOOR, HOP, N_FFT, RANGE, RATE, filters
from intaglio.runtime.audio.samples import read

BANDS = 80
WINDOW = 30 * RATE


def samples(recording: Path) -> np.ndarray:
    """f32[n] at 16 kHz."""
    return read(recording, RATE)


def log_mel(recording: Path) -> np.ndarray:
    """f32[1, 80, 3000] of the first 30 seconds, silence after the end."""
    sound = samples(recording)[:WINDOW]
    sound = np.pad(np.pad(sound, (0, WINDOW - len(sound))), N_FFT // 2, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(sound, N_FFT)[::HOP][: WINDOW // HOP]
    power = np.abs(np.fft.rfft(frames * np.hanning(N_FFT + 1)[:-1].astype(np.float32))) ** 2
    log = np.log10(np.maximum(power @ filters(BANDS), FLOOR)).T
    return ((np.maximum(log, log.max() - RANGE) + 4) / 4).astype(np.float32)[None]
