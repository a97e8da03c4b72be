"""A bundle, opened: plan and report are read from files, and an adapter is only asked for by what runs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from intaglio.runtime import files, plan_file
from intaglio.runtime.errors import BadBundle
from intaglio.runtime.instruments import provenance as graphs
from intaglio.runtime.instruments.provenance import Graph
from intaglio.runtime.plan import Plan

if TYPE_CHECKING:
    import onnx
    import wgpu

    from intaglio.runtime.executor import Executor
    from intaglio.runtime.instruments.verify import Check, Result, StepResult
    from intaglio.runtime.tasks.chat_template import ChatTemplate
    from intaglio.runtime.tasks.generate import Completion, Generator, Settings, Stream
    from intaglio.runtime.tasks.tokenizer import Tokenizer
    from intaglio.runtime.tasks.whisper import Transcriber, Transcript

Say = Callable[[str, int, int], None]


class Bundle:
    """The bundle in `folder`; `say` hears of the progress of long work. Raises BadBundle.

    allow_edited: shaders may be other ones than were compiled; `executor.edited` lists them.
    """

    def __init__(self, folder: Path, say: Say = lambda what, done, total: None, *, allow_edited: bool = False) -> None:
        self.folder, self._say, self._allow_edited = folder, say, allow_edited
        self.plan: Plan = plan_file.read(folder)

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
        self._forget()
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
        self._expect("whisper", "Whisper", "transcribe")
        from intaglio.runtime.tasks import audio as sound
        from intaglio.runtime.tasks.whisper import Settings

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

    def generate(self, prompt: str | Sequence[int], *, stream: bool = False, **options: Any) -> Completion | Stream:
        """How a language model goes on after `prompt`, a text or token ids. Greedy unless a temperature is given.

        options: max_tokens, temperature, top_k, top_p, min_p, repetition_penalty, seed, stop, ignore_eos, logprobs and
        more: see intaglio.runtime.tasks.options.Options. stream: gives pieces (.text, .tokens) as they come; after the
        last one, .result is the whole. What a prompt shares with the one before is not read again.
        Raises ValueError for options that make no sense, PromptTooLong, BadBundle, NoAdapter, DeviceLimit.
        """
        from intaglio.runtime.tasks.options import Options

        self._expect("language", "language model", "generate text")
        checked = Options(**options)
        tokens = self._tokens(prompt) if isinstance(prompt, str) else prompt
        pieces = self._generator.generate(tokens, checked)
        return pieces if stream else pieces.finish()

    def chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        tools: Sequence[Any] | None = None,
        stream: bool = False,
        **options: Any,
    ) -> Completion | Stream:
        """The answer to `messages`, [{"role": "user", "content": "..."}, ...], by the model's own chat template.

        tools: descriptions of functions, as JSON schemas, for models that call them. Otherwise like `generate`.
        """
        self._expect("language", "language model", "chat")
        if not all(isinstance(m, Mapping) and isinstance(m.get("role"), str) for m in messages) or not messages:
            raise ValueError('messages must be a list of {"role": ..., "content": ...}')
        if self._chat_template is None:
            raise ValueError(f"{self.folder} has no chat template: use generate")
        tokens = self._tokens(self._chat_template.render(messages, tools), special=False)
        return self.generate(tokens, stream=stream, **options)

    def logits(self, tokens: Sequence[int]) -> np.ndarray:
        """f32[tokens, vocabulary]: a language model's scores for what follows each token, given those before it."""
        return self._generator.logits(tokens)

    @property
    def sampling(self) -> dict[str, float]:
        """The options that a language model's makers recommend: generate(prompt, **bundle.sampling)."""
        return dict(self._language.sampling)

    def verify(
        self,
        tolerance: float | None = None,
        reference: str | Path | onnx.ModelProto | None = None,
        bind: Mapping[str, Any] | None = None,
    ) -> list[Result]:
        """Run the bundle's golden checks on this adapter; `tolerance` replaces the programs' own.

        reference: the model that was compiled, with what was bound then; onnxruntime's values take the place of those
        in the bundle. Raises BadBundle, BadModel, NoReference.
        """
        from intaglio.runtime.instruments.verify import outputs

        self._forget()
        return list(outputs(self.executor, self._checks(reference, bind), tolerance))

    def verify_steps(
        self,
        tolerance: float | None = None,
        reference: str | Path | onnx.ModelProto | None = None,
        bind: Mapping[str, Any] | None = None,
    ) -> Iterator[StepResult]:
        """The same, step by step: every step of every program that can be compared, in order, as it is reached.

        The first whose verdict is "wrong" is the one to look at. Raises as `verify` does.
        """
        from intaglio.runtime.instruments.verify import steps

        self._forget()
        return steps(self.executor, self.graph, self._checks(reference, bind), tolerance)

    def _checks(self, reference: Any, bind: Mapping[str, Any] | None) -> Iterable[Check]:
        from intaglio.runtime.instruments.verify import golden

        checks = golden(self.folder, self.plan)
        if reference is None:
            return checks
        from intaglio import ort as references

        return references.checks(checks, self.graph, self.plan, reference, bind)

    @cached_property
    def executor(self) -> Executor:
        """The bundle on an adapter: opened at first use, kept."""
        return self.open()

    def open(self, device: wgpu.GPUDevice | None = None) -> Executor:
        """The bundle on an adapter, anew; on `device`, if it is given. Raises BadBundle, NoAdapter, DeviceLimit."""
        from intaglio.runtime.executor import Executor

        return Executor(self.folder, self.plan, self._say, device, self._allow_edited)

    @cached_property
    def graph(self) -> Graph:
        """What every step computes, and of which ONNX nodes. Raises BadBundle, also for a bundle that does not say."""
        return graphs.read(self.folder, self.plan)

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
        return _parsed(self.folder / name, files.verify_file(self.folder, self.plan, name))

    @cached_property
    def tokenizer(self) -> Tokenizer | None:
        """Text to token ids and back; None where the model came without. Raises BadBundle."""
        from intaglio.runtime.tasks.tokenizer import Tokenizer

        content = self._file("tokenizer.json")
        return None if content is None else Tokenizer(content)

    @cached_property
    def _transcriber(self) -> Transcriber:
        from intaglio.runtime.tasks.tokenizer import Tokenizer
        from intaglio.runtime.tasks.whisper import Transcriber

        tokenizer = Tokenizer(files.verify_file(self.folder, self.plan, "tokenizer.json"))
        return Transcriber(self.executor, self._generation, tokenizer)

    @cached_property
    def _generator(self) -> Generator:
        from intaglio.runtime.tasks.generate import Generator

        settings, tokenizer = self._language, self.tokenizer  # before the weights: it leaves room for some of them
        return Generator(self.executor, settings, tokenizer, self._say)

    @cached_property
    def _language(self) -> Settings:
        """Raises ValueError for a bundle of another kind."""
        from intaglio.runtime.tasks.generate import Settings

        self._expect("language", "language model", "generate text")
        return Settings.parse(self._generation)

    @cached_property
    def _chat_template(self) -> ChatTemplate | None:
        from intaglio.runtime.tasks.chat_template import ChatTemplate

        content = self._file("chat_template.jinja")
        return ChatTemplate(content.decode("utf-8", "replace"), self._language.special) if content else None

    def _tokens(self, text: str, special: bool = True) -> list[int]:
        if self.tokenizer is None:
            raise ValueError(f"{self.folder} has no tokenizer: give token ids, as in generate([1, 2, 3])")
        return self.tokenizer.encode(text, special)

    def _file(self, name: str) -> bytes | None:
        """A file that not every bundle has."""
        return files.verify_file(self.folder, self.plan, name) if name in self.plan.files else None

    def _expect(self, kind: str, model: str, task: str) -> None:
        if self.plan.kind != kind:
            raise ValueError(f"{self.folder} holds no {model}: it cannot {task}")

    def _forget(self) -> None:
        """The programs are about to be run by hand, over what the generator knows of the cache."""
        if "_generator" in self.__dict__:
            self._generator.forget()


def _parsed(path: Path, content: bytes) -> dict[str, Any]:
    try:
        data = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise BadBundle(f"{path} is broken: {error}; compile the model again") from error
    if not isinstance(data, dict):
        raise BadBundle(f"{path} is broken: it is no JSON object; compile the model again")
    return data
