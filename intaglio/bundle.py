"""A bundle, opened: plan and report are read from files, and an adapter is only asked for by what runs."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from intaglio.runtime import plan as plans
from intaglio.runtime.plan import BadBundle, Plan

if TYPE_CHECKING:
    from intaglio.runtime.executor import Executor
    from intaglio.runtime.verify import Result
    from intaglio.runtime.whisper import Transcriber, Transcript

Say = Callable[[str, int, int], None]


class Bundle:
    """The bundle in `folder`; `say` hears of the progress of long work. Raises BadBundle."""

    def __init__(self, folder: Path, say: Say = lambda what, done, total: None) -> None:
        self.folder, self._say = folder, say
        self.plan: Plan = plans.read(folder)

    def run(
        self, inputs: Mapping[str, Any], program: str = "main", symbols: Mapping[str, int] | None = None
    ) -> dict[str, np.ndarray]:
        """The outputs of a program by name. `symbols`: sizes that do not follow from the shapes of the inputs.

        Raises ValueError for a program or inputs that the bundle lacks, BadBundle, NoAdapter, DeviceLimit.
        """
        if program not in self.plan.programs:
            raise ValueError(
                f"there is no program {program!r} in {self.folder}; it has {', '.join(self.plan.programs)}"
            )
        return self.executor.run(program, inputs, symbols)

    def transcribe(
        self,
        audio: str | Path | BinaryIO | np.ndarray,
        rate: float | None = None,
        *,
        language: str | None = None,
        task: str = "transcribe",
        timestamps: bool | None = None,
    ) -> Transcript:
        """The text of a recording: a WAV or FLAC file, or samples f32[frames] or f32[frames, channels] at `rate` Hz.

        language: a code such as "en"; None lets the model find out. task: "transcribe", or "translate" into English.
        timestamps: segments by the model's own times; None: for recordings longer than one window (30 s).
        Raises AudioError, ValueError for a language or task that the model lacks, BadBundle, NoAdapter, DeviceLimit.
        """
        if self.plan.kind != "whisper":
            raise ValueError(f"{self.folder} holds no Whisper: it cannot transcribe")
        from intaglio.runtime import audio as sound
        from intaglio.runtime.whisper import Settings

        settings = Settings.parse(self._generation)
        settings.known(language, task)
        if isinstance(audio, np.ndarray | list | tuple):
            if rate is None:
                raise ValueError("samples need their rate in Hz: transcribe(samples, rate=16000)")
            samples = np.asarray(audio)
        elif rate is not None:
            raise ValueError("a recording in a file has its own rate; give rate= with samples only")
        else:
            samples, rate = sound.read(audio)
        samples = sound.mono(samples, rate, settings.rate)
        return self._transcriber.transcribe(samples, language, task, timestamps, self._say)

    def verify(self, tolerance: float | None = None) -> list[Result]:
        """Run the bundle's golden checks on this adapter; `tolerance` replaces the programs' own. Raises BadBundle."""
        from intaglio.runtime.verify import verify

        return verify(self.executor, self.folder, tolerance)

    @cached_property
    def executor(self) -> Executor:
        """The bundle on an adapter: opened at first use, kept."""
        from intaglio.runtime.executor import Executor

        return Executor(self.folder, self.plan, self._say)

    @cached_property
    def report(self) -> dict[str, Any]:
        """What the compiler wrote down: passes, kernels, bytes, dispatches per token. Raises BadBundle."""
        path = self.folder / "report.json"
        if path.is_symlink() or not path.is_file():
            raise BadBundle(f"{path} is missing; compile the model again")
        return _parsed(path, path.read_bytes())  # nothing that runs depends on it, so the plan has no hash of it

    @cached_property
    def _generation(self) -> dict[str, Any]:
        name = "generation.json"
        return _parsed(self.folder / name, plans.verify_file(self.folder, self.plan, name))

    @cached_property
    def _transcriber(self) -> Transcriber:
        from intaglio.runtime.tokenizer import Tokenizer
        from intaglio.runtime.whisper import Transcriber

        tokenizer = Tokenizer(plans.verify_file(self.folder, self.plan, "tokenizer.json"))
        return Transcriber(self.executor, self._generation, tokenizer)


def _parsed(path: Path, content: bytes) -> dict[str, Any]:
    try:
        data = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise BadBundle(f"{path} is broken: {error}; compile the model again") from error
    if not isinstance(data, dict):
        raise BadBundle(f"{path} is broken: it is no JSON object; compile the model again")
    return data
