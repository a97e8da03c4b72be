"""Generates text with the programs of a language model: checks prompts, ends texts, and yields pieces of text."""

from __future__ import annotations

import math
import random
from collections import abc
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from intaglio.runtime.contract import DRAWN, LOGITS, NEW_TOKENS, PAST, SAMPLING, SAMPLING_OPTIONS, SEED
from intaglio.runtime.errors import BadBundle
from intaglio.runtime.plan import SEEN, Plan
from intaglio.runtime.progress import Progress, silent
from intaglio.runtime.tasks.decode import Decoder, Request
from intaglio.runtime.tasks.options import SEEDS, Options
from intaglio.runtime.tasks.stream import Stream
from intaglio.runtime.tasks.streaming import Text
from intaglio.runtime.tasks.tokenizer import Tokenizer

if TYPE_CHECKING:
    from intaglio.runtime.session import Session

BUDGET = 0.08  # seconds that a submit may take, so that text appears steadily and others can use the adapter soon


@dataclass(frozen=True)
class Settings:
    """The content of generation.json.

    end: tokens that end a text. start: the token that begins a text, if the tokenizer does not add it. context: the
    rows of the cache. chunk: prefill reads up to this many tokens at once. sampling: options that the model's makers
    recommend. special: the texts of special tokens, by name.
    """

    end: tuple[int, ...]
    start: int | None
    context: int
    chunk: int
    vocabulary: int
    sampling: dict[str, float]
    special: dict[str, str]

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> Settings:
        """Return the settings in a parsed generation.json. Raises BadBundle if they are not valid."""
        try:
            settings = cls(
                end=tuple(data["end"]),
                start=data["start"],
                context=data["context"],
                chunk=data["chunk"],
                vocabulary=data["vocabulary"],
                sampling=dict(data["sampling"]),
                special=dict(data["special"]),
            )
            order = data["sampling_order"]
        except (KeyError, TypeError, ValueError) as error:
            raise BadBundle(f"generation.json is broken: {error}; compile the model again") from error
        tokens = [*settings.end, *([] if settings.start is None else [settings.start])]
        sizes = [settings.context, settings.chunk, settings.vocabulary]
        if any(type(n) is not int or n < 1 for n in sizes):
            raise BadBundle("generation.json is broken: a size is missing; compile the model again")
        if any(type(t) is not int or t < 0 for t in tokens):
            raise BadBundle("generation.json is broken: a token id is not an integer; compile the model again")
        if any(type(text) is not str for text in settings.special.values()):
            raise BadBundle("generation.json is broken: a special token is not a text; compile the model again")
        if not settings.sampling.keys() <= {*SAMPLING_OPTIONS}:
            raise BadBundle("generation.json is broken: unknown sampling option; compile the model again")
        if order != [*SAMPLING_OPTIONS]:
            raise BadBundle(f"generation.json is broken: sampling_order is {order}; compile the model again")
        return settings


@dataclass(frozen=True)
class Logprob:
    """A token, its text, and the natural logarithm of the probability that the model gave it, before any option.

    top: the likeliest tokens at this position, the likeliest first.
    """

    token: int
    text: str
    logprob: float
    top: list[Logprob] = field(default_factory=list)


@dataclass(frozen=True)
class Piece:
    """New text and the tokens that completed it. There are several if a character or a stop string spans tokens."""

    text: str
    tokens: list[int]
    logprobs: list[Logprob] | None = None


@dataclass(frozen=True)
class Completion:
    """The text that a model generated.

    text: without special tokens and without the stop string.
    tokens: all that the model chose, except the end token.
    finish_reason: "stop" (an end token or a stop string), "length" (max_tokens) or "context" (the cache is full).
    prompt_tokens: the number of tokens in the prompt.
    logprobs: one for each token, if they were requested.
    """

    text: str
    tokens: list[int]
    finish_reason: str
    prompt_tokens: int
    logprobs: list[Logprob] | None = None


class PromptTooLong(ValueError):
    """The prompt has more tokens than the context of the model."""


class Generator:
    """A language model in a session. Without a tokenizer, texts are empty. Raises BadBundle.

    Texts may take turns, and others may write into the session. A text then reads again what the cache lost.
    """

    def __init__(
        self,
        session: Session,
        settings: Settings,
        tokenizer: Tokenizer | None,
        progress: Progress = silent,
    ) -> None:
        self.settings = settings
        _check(session.plan, settings)
        self._session, self._tokenizer = session, tokenizer
        self._decoder = Decoder(session, settings.context, settings.chunk, BUDGET, progress)

    def generate(
        self, prompt: Sequence[int], options: Options, lock: AbstractContextManager[Any] | None = None
    ) -> Stream[Piece, Completion]:
        """Return a stream of the text after `prompt`. lock: what it holds while it makes a piece, such as a Watch.

        Raises PromptTooLong, and ValueError for a prompt that is not a list of tokens that the model knows.
        """
        if isinstance(prompt, bytes) or not isinstance(prompt, Sequence | np.ndarray):
            raise ValueError(f"expected a text or a list of token ids, got {type(prompt).__name__}")
        if not len(prompt):
            if self.settings.start is None:
                raise ValueError("the prompt is empty; this model needs at least one token")
            prompt = [self.settings.start]
        if options.stops and self._tokenizer is None:
            raise ValueError("stop needs a tokenizer, which this bundle lacks; leave it out")
        return Stream(self._pieces(self._known(prompt), options), lock or self._session.lock)

    def common(self, prompt: Sequence[int]) -> int:
        """Return how many of a prompt's first tokens need not be read again."""
        return self._decoder.common(prompt)

    def logits(self, tokens: Sequence[int]) -> np.ndarray:
        """Run a step for each of `tokens`. Returns the logits after each, f32[tokens, vocabulary]."""
        tokens = self._known(tokens)
        rows = np.empty((len(tokens), self.settings.vocabulary), np.float32)
        with self._session.lock:
            self._decoder.begin(self._sampling(Options()))
            for i, token in enumerate(tokens):
                self._decoder.place(token, i)
                self._decoder.steps(token, 1, {})
                rows[i] = self._last_logits()
        return rows

    def _known(self, tokens: Sequence[int]) -> list[int]:
        array = np.asarray(tokens)
        if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
            raise ValueError("expected a list of token ids (integers)")
        if array.size and not (array.min() >= 0 and array.max() < self.settings.vocabulary):
            wrong = next(t for t in array.tolist() if not 0 <= t < self.settings.vocabulary)
            raise ValueError(f"token id {wrong} is outside of the vocabulary of {self.settings.vocabulary}")
        if len(array) > (context := self.settings.context):
            raise PromptTooLong(
                f"the prompt has {len(array)} tokens, the context {context}; shorten it, or compile with --max-length"
            )
        return array.tolist()

    def _sampling(self, options: Options) -> Callable[[], None]:
        """Return a function that writes the sampling settings into the session."""
        return lambda: self._session.write(SAMPLING, options.sampling)

    def _last_logits(self) -> np.ndarray:
        return self._session.read(LOGITS, {}).reshape(-1)

    # text

    def _pieces(self, prompt: list[int], options: Options) -> abc.Generator[Piece, None, Completion]:
        text = Text(self._tokenizer, prompt, options.stops)
        tokens: list[int] = []
        logprobs: list[Logprob] | None = None if options.logprobs is None else []
        sent, reason = 0, "context"
        for token in self._chosen(prompt, options):
            if token in self.settings.end and not options.ignore_eos:
                reason = "stop"
                break
            tokens.append(token)
            if logprobs is not None and options.logprobs is not None:
                logprobs.append(self._logprob(token, options.logprobs))
            new = text.add(token)
            if new or self._tokenizer is None:
                yield Piece(new, tokens[sent:], logprobs and logprobs[sent:])
                sent = len(tokens)
            if text.stopped or len(tokens) == options.max_tokens:
                reason = "stop" if text.stopped else "length"
                break
        rest = text.end()
        if rest or sent < len(tokens):
            yield Piece(rest, tokens[sent:], logprobs and logprobs[sent:])
        return Completion(text.whole, tokens, reason, len(prompt), logprobs)

    def _chosen(self, prompt: list[int], options: Options) -> Iterator[int]:
        seed = random.randrange(SEEDS) if options.seed is None else int(options.seed)
        alone = options.logprobs is not None  # the logits of each token are read
        request = Request(
            symbols={SEED: seed, DRAWN: int(options.draws)},
            limit=options.max_tokens or math.inf,
            pace=1 if alone else options.steps_per_submit,
            ahead=not alone,
            prepare=self._sampling(options),
        )
        for tokens in self._decoder.tokens(prompt, request):
            yield from tokens

    def _logprob(self, token: int, count: int) -> Logprob:
        logits = self._last_logits().astype(np.float64)
        logprobs = logits - logits.max()
        logprobs -= np.log(np.exp(logprobs).sum())
        best = np.argsort(-logprobs, kind="stable")[:count].tolist()
        own, *top = (Logprob(t, self._shown(t), float(logprobs[t])) for t in (token, *best))
        return Logprob(own.token, own.text, own.logprob, top)

    def _shown(self, token: int) -> str:
        return "" if self._tokenizer is None else self._tokenizer.raw([token])


def _check(plan: Plan, s: Settings) -> None:
    """Raise BadBundle unless the plan is that of a language model with the sizes in the settings."""
    shapes = {b.name: (b.dtype, *b.shape) for b in plan.buffers if b.kind in SEEN}
    expected = {
        "tokens": ("i32", 1, s.context + 1, 1),
        "sampling": ("f32", len(SAMPLING_OPTIONS)),
        "logits": ("f32", 1, 1, s.vocabulary),
    }
    sizes = {PAST: (0, s.context - 1), NEW_TOKENS: (1, s.chunk), SEED: (0, SEEDS - 1), DRAWN: (0, 1)}
    if not plan.programs.keys() >= {"prefill", "step"} or any(plan.symbols.get(k) != v for k, v in sizes.items()):
        raise BadBundle("the plan is broken: it is not the language model of generation.json; compile the model again")
    for name, type in expected.items():
        if shapes.get(name) != type:
            raise BadBundle(f"the plan is broken: {name} is {shapes.get(name)}, not {type}; compile the model again")
