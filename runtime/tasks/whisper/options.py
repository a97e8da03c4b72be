"""The options of a transcription."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from intaglio.runtime.tasks.voice.speech import Parameters


@dataclass(frozen=True)
class Options:
    """Options of a transcription. Raises ValueError for parameters of speech that are unknown or out of range.

    language: a code such as "en", or "auto": detected. None: what the export sets, or else "auto".
    task: "transcribe", or "translate" into English. None: what the export sets, or else "transcribe".
    timestamps: segments with the model's own times. None: for recordings longer than one window (30 s).
    vad: transcribe only what a detector takes for speech. vad_parameters: what counts as speech, by name; see
    `Parameters`.
    """

    language: str | None = None
    task: str | None = None
    timestamps: bool | None = None
    vad: bool = False
    vad_parameters: Mapping[str, float | None] | None = None

    def __post_init__(self) -> None:
        if not self.vad and self.vad_parameters:
            raise ValueError("vad_parameters work only with vad=True")
        Parameters.of(self.vad_parameters or {})

    @property
    def speech(self) -> Parameters:
        """What counts as speech."""
        return Parameters.of(self.vad_parameters or {})
