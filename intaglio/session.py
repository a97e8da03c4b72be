"""A session of a bundle: everything that can be run, with its own inputs, states and cache.

Sessions of one bundle share its weights. Each holds a conversation or a recording while others go on with theirs.
"""

from __future__ import annotations

import warnings
from collections import abc
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, overload

import numpy as np

from intaglio.contents import Contents
from intaglio.lazy import lazy
from intaglio.runtime import files
from intaglio.runtime.contract import ENCODER
from intaglio.runtime.progress import Progress
from intaglio.runtime.tasks.stream import Stream
from intaglio.runtime.watch import Watch

if TYPE_CHECKING:
    from intaglio.runtime.session import Session
    from intaglio.runtime.tasks.embed import Encoder
    from intaglio.runtime.tasks.generate import Completion, Generator, Piece
    from intaglio.runtime.tasks.whisper.live import Heard
    from intaglio.runtime.tasks.whisper.options import Options as TranscribeOptions
    from intaglio.runtime.tasks.whisper.transcriber import Transcriber
    from intaglio.runtime.tasks.whisper.transcript import Segment, Transcript


class BundleSession:
    """A session of a bundle: a conversation or a recording of its own, on weights that all sessions share.

    Any thread may call it: calls wait for each other. A stream holds the session only while it makes a piece.
    `open` makes the session of the engine, at first use.
    """

    def __init__(self, contents: Contents, open: Callable[[], Session], progress: Progress) -> None:
        self.contents = contents
        self._open, self._progress = open, progress
        self._lock = RLock()

    def run(
        self, inputs: Mapping[str, Any], program: str = "main", symbols: Mapping[str, int] | None = None
    ) -> dict[str, np.ndarray]:
        """Run a program: its outputs by name. `symbols`: sizes that do not follow from the shapes of the inputs.

        A text encoder also takes the masks of its model, which are all ones, because texts are not padded.

        Raises ValueError for an unknown program or inputs that do not match it, BadBundle, NoAdapter, DeviceLimit.
        """
        programs = self.contents.plan.programs
        if program not in programs:
            raise ValueError(f"{self.contents.folder} has no program {program!r}; it has {', '.join(programs)}")
        if self.contents.plan.kind == ENCODER:
            from intaglio.runtime.tasks.embed import Settings, unmasked

            inputs = unmasked(inputs, Settings.parse(self.contents.generation))
        return self.replays.run(program, inputs, symbols)

    @overload
    def transcribe(
        self,
        audio: str | Path | BinaryIO | np.ndarray,
        rate: float | None = None,
        *,
        stream: Literal[False] = False,
        **options: Any,
    ) -> Transcript: ...
    @overload
    def transcribe(
        self,
        audio: str | Path | BinaryIO | np.ndarray,
        rate: float | None = None,
        *,
        stream: Literal[True],
        **options: Any,
    ) -> Stream[Segment, Transcript]: ...
    def transcribe(
        self,
        audio: str | Path | BinaryIO | np.ndarray,
        rate: float | None = None,
        *,
        channel: int | None = None,
        offset: float = 0.0,
        duration: float | None = None,
        stream: bool = False,
        cancel: Callable[[], bool] | None = None,
        **options: Any,
    ) -> Transcript | Stream[Segment, Transcript]:
        """Transcribe a recording: a file, or samples f32[frames] or f32[frames, channels] at `rate` Hz.

        audio: a path, "-" for standard input, or a binary file, in any format that libsndfile reads, and with PyAV or
        ffmpeg in those of phones and browsers.
        channel: transcribe this one, from 1 on; None: the average of all. offset, duration: transcribe only this part,
        in seconds; times still count from the begin of the recording.
        stream: return a `Stream` of segments that arrive as they are heard.
        cancel: is asked before each submit to the adapter; if it says so, the call raises Cancelled.
        options: see "Options of transcribe". What may be missing is a UserWarning, and in the transcript's notes.
        Raises AudioError, ValueError for a language or task that the model lacks, BadBundle, NoAdapter, DeviceLimit.
        """
        self.contents.expect("whisper", "Whisper", "transcribe")
        from intaglio.runtime.audio import samples as sound
        from intaglio.runtime.tasks.whisper.options import Options
        from intaglio.runtime.tasks.whisper.settings import Settings

        checked, settings = Options(**options), Settings.parse(self.contents.generation)
        settings.choices(checked.language, checked.task)
        part = sound.Part(channel, offset, duration)
        if isinstance(audio, np.ndarray | list | tuple):
            if rate is None:
                raise ValueError("samples need their rate in Hz: transcribe(samples, rate=16000)")
            samples = sound.convert(audio, rate, settings.rate, part)
        elif rate is not None:
            raise ValueError("a file has its own rate; pass rate= only with samples")
        else:
            samples = sound.read(audio, settings.rate, part)
        segments = Stream(self._heard(samples, checked, offset), Watch(self.replays, cancel))
        return segments if stream else segments.finish()

    def _heard(
        self, samples: np.ndarray, options: TranscribeOptions, offset: float
    ) -> abc.Generator[Segment, None, Transcript]:
        """Yield the segments of a recording with their times `offset` seconds later; return the transcript."""
        segments = self._transcriber.stream(samples, options, self._progress)
        for segment in segments:
            yield segment.later(offset)
        transcript = segments.finish().later(offset)
        for note in transcript.notes:
            warnings.warn(note, stacklevel=2)
        return transcript

    def listen(
        self,
        chunks: Iterable[np.ndarray],
        rate: float = 16_000,
        *,
        channel: int | None = None,
        interval: float = 1.0,
        agreement: int = 2,
        **options: Any,
    ) -> Iterator[Heard]:
        """Transcribe sound while it comes, in chunks of f32[frames] or f32[frames, channels] at `rate` Hz.

        Yields stable text with a changing tail; when the chunks end, the last one has the whole transcript.

        channel: transcribe this one, from 1 on; None: the average of all.
        interval: seconds of new sound between two updates; they are rarer if the adapter takes longer.
        agreement: words are stable when this many updates in a row agree on them.
        options: as for `transcribe`, without clip_timestamps.
        Raises AudioError, ValueError for a language or task that the model lacks, BadBundle, NoAdapter, DeviceLimit.
        """
        self.contents.expect("whisper", "Whisper", "listen")
        from intaglio.runtime.audio.samples import Converter, Part
        from intaglio.runtime.tasks.whisper.live import Live
        from intaglio.runtime.tasks.whisper.options import Options
        from intaglio.runtime.tasks.whisper.settings import Settings

        checked, settings = Options(**options), Settings.parse(self.contents.generation)
        settings.choices(checked.language, checked.task)
        converter = Converter(rate, settings.rate, Part(channel))
        with self.replays.lock:
            live = Live(self._transcriber, checked, interval, agreement)

        def heard() -> Iterator[Heard]:
            for chunk in chunks:
                with self.replays.lock:
                    update = live.update() if live.add(converter.add(chunk)) else None
                if update is not None:
                    yield update
            live.add(converter.end())
            with self.replays.lock:
                last = live.finish()
            yield last

        return heard()

    @overload
    def generate(
        self,
        prompt: str | Sequence[int],
        *,
        stream: Literal[False] = False,
        cancel: Callable[[], bool] | None = None,
        **options: Any,
    ) -> Completion: ...
    @overload
    def generate(
        self,
        prompt: str | Sequence[int],
        *,
        stream: Literal[True],
        cancel: Callable[[], bool] | None = None,
        **options: Any,
    ) -> Stream[Piece, Completion]: ...
    def generate(
        self,
        prompt: str | Sequence[int],
        *,
        stream: bool = False,
        cancel: Callable[[], bool] | None = None,
        **options: Any,
    ) -> Completion | Stream[Piece, Completion]:
        """Continue `prompt`, a text or token ids, with a language model. Greedy unless a temperature is set.

        Tokens that a prompt shares with the one before are not read again.

        stream: return a `Stream` of pieces that arrive one by one.
        cancel: is asked before each submit to the adapter; if it says so, the call or its stream raises Cancelled.
        options: max_tokens, temperature, top_k, top_p, min_p, repetition_penalty, seed, stop, ignore_eos, logprobs,
        steps_per_submit; see `Options`.
        Raises ValueError for options out of range, PromptTooLong, BadBundle, NoAdapter, DeviceLimit.
        """
        from intaglio.runtime.tasks.options import Options

        self.contents.expect("language", "language model", "generate text")
        checked = Options(**options)
        tokens = self.contents.tokens(prompt) if isinstance(prompt, str) else prompt
        pieces = self._generator.generate(tokens, checked, Watch(self.replays, cancel))
        return pieces if stream else pieces.finish()

    @overload
    def chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        tools: Sequence[Any] | None = None,
        stream: Literal[False] = False,
        **options: Any,
    ) -> Completion: ...
    @overload
    def chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        tools: Sequence[Any] | None = None,
        stream: Literal[True],
        **options: Any,
    ) -> Stream[Piece, Completion]: ...
    def chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        tools: Sequence[Any] | None = None,
        stream: bool = False,
        **options: Any,
    ) -> Completion | Stream[Piece, Completion]:
        """Answer `messages`, [{"role": "user", "content": "..."}, ...], formatted by the model's own chat template.

        tools: descriptions of functions, as JSON schemas, for models that call them.
        stream, cancel and other options: as for `generate`, and so are the errors.
        """
        return self.generate(self.prompt(messages, tools), stream=stream, **options)

    def prompt(self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Any] | None = None) -> list[int]:
        """The tokens of `messages` in the model's chat template. Raises ValueError, BadBundle."""
        self.contents.expect("language", "language model", "chat")
        from intaglio.runtime.tasks.messages import with_texts

        messages = with_texts(messages)
        if self.contents.chat_template is None:
            raise ValueError(f"{self.contents.folder} has no chat template; use generate")
        return self.contents.tokens(self.contents.chat_template.render(messages, tools), special=False)

    def common(self, prompt: Sequence[int]) -> int:
        """How many of a prompt's first tokens the session's cache holds. They are not read again."""
        opened = self.__dict__.get("_generator")
        return 0 if opened is None else opened.common(prompt)

    def embed(self, texts: Sequence[str | Sequence[int]]) -> np.ndarray:
        """f32[texts, width]: a row for each text, pooled and normalized as the model's own files say.

        texts: strings, or lists of token ids with the special tokens around them. A text that is longer than the model
        allows loses its end, with a warning.
        Raises ValueError for a model that is not a text encoder and for a text without tokens, NanScores, BadBundle,
        NoAdapter, DeviceLimit.
        """
        if isinstance(texts, str):
            raise ValueError('expected a list of texts, got one text; pass it as in embed(["..."])')
        encoder = self._encoder
        with self.replays.lock:
            return encoder.embed(texts)

    def classify(self, text: str | Sequence[int], pair: str | None = None) -> dict[str, float]:
        """The labels of a text with their probabilities, the likeliest first, from a text classifier.

        pair: the second text, for models that compare two. A text that is too long loses its end, with a warning.
        Raises ValueError for a model that is not a text classifier and for a text without tokens, NanScores, BadBundle,
        NoAdapter, DeviceLimit.
        """
        encoder = self._encoder
        with self.replays.lock:
            return encoder.classify(text, pair)

    def logits(self, tokens: Sequence[int]) -> np.ndarray:
        """f32[tokens, vocabulary]: a language model's scores of the token after each of `tokens`, before any option."""
        return self._generator.logits(tokens)

    @property
    def sampling(self) -> dict[str, Any]:
        """The sampling options that a language model's makers recommend: generate(prompt, **bundle.sampling)."""
        return dict(self.contents.language.sampling)

    @lazy
    def replays(self) -> Session:
        """The session of the engine that runs all of this."""
        return self._open()

    @lazy
    def _transcriber(self) -> Transcriber:
        from intaglio.runtime.tasks.tokenizer import Tokenizer
        from intaglio.runtime.tasks.whisper.transcriber import Transcriber

        contents = self.contents
        tokenizer = Tokenizer(files.verify_file(contents.folder, contents.plan, "tokenizer.json"))
        return Transcriber(self.replays, contents.generation, tokenizer)

    @lazy
    def _encoder(self) -> Encoder:
        from intaglio.runtime.tasks.embed import Encoder, Settings

        self.contents.expect("encoder", "text encoder", "embed or classify texts")
        settings, tokenizer = Settings.parse(self.contents.generation), self.contents.tokenizer
        return Encoder(self.replays, settings, tokenizer)

    @lazy
    def _generator(self) -> Generator:
        from intaglio.runtime.tasks.generate import Generator

        settings, tokenizer = self.contents.language, self.contents.tokenizer  # read before the weights are
        return Generator(self.replays, settings, tokenizer, self._progress)
