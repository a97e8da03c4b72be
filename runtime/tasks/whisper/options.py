"""The options of a transcription."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Options:
    """Options of a transcription.

    language: a code such as "en", or "auto": detected. None: what the export sets, or else "auto".
    task: "transcribe", or "translate" into English. None: what the export sets, or else "transcribe".
    timestamps: segments with the model's own times. None: for recordings longer than one window (30 s).
    """

    language: str | None = None
    task: str | None = None
    timestamps: bool | None = None
