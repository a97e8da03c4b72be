"""Text from the programs of a language model: prefill reads a prompt in chunks, step adds a token.

The cache outlives a text. Row i of it belongs to token i of what was read last, so a prompt that begins like that is
read from where the two part; and tokens stay on the adapter, so that several steps run before any is looked at.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from intaglio.runtime.contract import NEW_TOKENS, PAST, SAMPLING_OPTIONS
from intaglio.runtime.errors import BadBundle
from intaglio.runtime.limits import SLOTS
from intaglio.runtime.plan import SEEN, Plan
from intaglio.runtime.progress import Progress, silent
from intaglio.runtime.tasks.options import SEEDS, Options
from intaglio.runtime.tasks.streaming import Text
from intaglio.runtime.tasks.tokenizer import Tokenizer

if TYPE_CHECKING:
    from intaglio.runtime.session import Session

BUDGET = 0.08  # seconds that a submit may take, so that text flows and nobody waits long for the adapter


@dataclass(frozen=True)
class Settings:
    """What generation.json says.

    end: tokens that end a text. start: the one that begins texts, if the tokenizer does not say so itself. context: the
    rows of the cache; chunk: how many tokens prefill reads at once. sampling: options that the model's makers
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
        """Raises BadBundle."""
        try:
            made = cls(
                tuple(data["end"]),
                data["start"],
                *(data[name] for name in ("context", "chunk", "vocabulary")),
                dict(data["sampling"]),
                dict(data["special"]),
            )
            order = data["sampling_order"]
        except (KeyError, TypeError, ValueError) as error:
            raise BadBundle(f"generation.json is broken: {error}; compile the model again") from error
        tokens = [*made.end, *([] if made.start is None else [made.start])]
        sizes = [made.context, made.chunk, made.vocabulary]
        if any(type(n) is not int or n < 1 for n in sizes):
            raise BadBundle("generation.json is broken: a size is missing; compile the model again")
        if any(type(t) is not int or t < 0 for t in tokens):
            raise BadBundle("generation.json is broken: a token is no number; compile the model again")
        if any(type(text) is not str for text in made.special.values()):
            raise BadBundle("generation.json is broken: a special token is no text; compile the model again")
        if not made.sampling.keys() <= {*SAMPLING_OPTIONS}:
            raise BadBundle("generation.json is broken: unknown sampling option; compile the model again")
        if order != [*SAMPLING_OPTIONS]:
            raise BadBundle(f"generation.json is broken: sampling_order is {order}; compile the model again")
        return made


@dataclass(frozen=True)
class Logprob:
    """A token, its text, and the logarithm of the probability that the model itself gave it, before any option.

    top: the likeliest tokens in its place, the likeliest first.
    """

    token: int
    text: str
    logprob: float
    top: list[Logprob] = field(default_factory=list)


@dataclass(frozen=True)
class Piece:
    """Text as it comes, and the tokens that completed it: several where a character or a stop string is spread out."""

    text: str
    tokens: list[int]
    logprobs: list[Logprob] | None = None


@dataclass(frozen=True)
class Completion:
    """What a model said.

    text: without special tokens and what began the stop string. tokens: all that the model chose but the end token.
    finish_reason: "stop" (an end token, or a stop string), "length" (max_tokens), "context" (the cache is full).
    prompt_tokens: how many tokens were given.
    """

    text: str
    tokens: list[int]
    finish_reason: str
    prompt_tokens: int
    logprobs: list[Logprob] | None = None


class Stream(Iterator[Piece]):
    """The pieces of a text as they come. `result` is the whole, once there are no more; None before.

    `lock` is held while a piece is made, and not between pieces: others may use the session there, and whoever drops a
    stream leaves nothing locked.
    """

    def __init__(self, pieces: Iterator[Piece], lock: AbstractContextManager[Any]) -> None:
        self._pieces, self._lock = pieces, lock
        self.result: Completion | None = None

    def __next__(self) -> Piece:
        with self._lock:
            try:
                return next(self._pieces)
            except StopIteration as stop:
                self.result = stop.value or self.result
                raise

    def finish(self) -> Completion:
        """Take the remaining pieces, and let nobody else use the session meanwhile; returns the whole."""
        with self._lock:
            for _ in self:
                pass
        return self.result


class PromptTooLong(ValueError):
    """The prompt does not fit the context."""


@dataclass
class Row:
    """What belongs to one row of a session, of which there is one today: batches and beams would have several.

    held: the tokens whose keys and values lie in the cache. text: the number of the text that wrote there last, which
    finds its cache and its sampling settings as it left them.
    """

    held: list[int] = field(default_factory=list)
    text: int = 0


class Generator:
    """A language model in a session. Without a tokenizer, texts are empty. Raises BadBundle.

    Texts may take turns, and others may write into the session: a text then reads again what the cache lost.
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
        self._session, self._tokenizer, self._progress = session, tokenizer, progress
        self._row = Row()
        self._writes = session.writes  # the session's count after our last write
        self._pace = 1  # steps of the next submit

    def generate(self, prompt: Sequence[int], options: Options) -> Stream:
        """The text after `prompt`. Raises PromptTooLong, and ValueError for tokens that the model does not know."""
        if not len(prompt):
            if self.settings.start is None:
                raise ValueError("the prompt is empty; this model has no token that begins a text")
            prompt = [self.settings.start]
        if options.stops and self._tokenizer is None:
            raise ValueError("stop strings need a tokenizer, which this bundle lacks")
        return Stream(self._pieces(self._known(prompt), options), self._session.lock)

    def logits(self, tokens: Sequence[int]) -> np.ndarray:
        """f32[tokens, vocabulary]: what follows each of `tokens`, given those before it. A step for each."""
        tokens = self._known(tokens)
        rows = np.empty((len(tokens), self.settings.vocabulary), np.float32)
        with self._session.lock:
            self._begin(Options())
            for i, token in enumerate(tokens):
                with self._writing():
                    del self._row.held[i:]
                    self._session.write("tokens", np.array([token]), i)
                    self._session.submit("step", {PAST: i})
                    self._row.held.append(token)
                rows[i] = self._last_logits()
        return rows

    def _known(self, tokens: Sequence[int]) -> list[int]:
        array = np.asarray(tokens)
        if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
            raise ValueError("tokens must be a list of whole numbers")
        if array.size and not (array.min() >= 0 and array.max() < self.settings.vocabulary):
            wrong = next(t for t in array.tolist() if not 0 <= t < self.settings.vocabulary)
            raise ValueError(f"there is no token {wrong}; this model has {self.settings.vocabulary}")
        if len(array) > (context := self.settings.context):
            raise PromptTooLong(
                f"the prompt has {len(array)} tokens, the context {context}; shorten it, or compile with --max-length"
            )
        return array.tolist()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Stands around all that writes into the session. Where somebody else wrote since, the cache holds nothing."""
        if self._session.writes != self._writes:
            self._row.held, self._row.text = [], self._row.text + 1
        try:
            yield
        finally:
            self._writes = self._session.writes

    def _begin(self, options: Options) -> int:
        """Begin a text, or go on with one after another; returns its number."""
        with self._writing():
            self._row.text += 1
            self._session.write("sampling", options.sampling)
        return self._row.text

    # tokens

    def _tokens(self, prompt: list[int], options: Options) -> Iterator[Sequence[int]]:
        """The tokens after the prompt, as many at a time as a submit brings, until the context is full.

        Only what surely lies in the cache counts as held, so that an interruption anywhere leaves the truth.
        """
        seed = random.randrange(SEEDS) if options.seed is None else int(options.seed)
        number = self._begin(options)
        text = [*prompt, self._prefill(prompt, seed)]  # its last token is not in the cache yet
        remaining = (options.max_tokens or math.inf) - 1
        yield text[-1:]
        while (room := self.settings.context + 1 - len(text)) > 0:
            if number != self._row.text or self._session.writes != self._writes:
                number = self._begin(options)
                self._resume(text, seed)
            count = int(min(self._count(options), remaining, room))
            tokens = self._steps(text[-1], count, seed)
            text += tokens
            remaining -= count
            yield tokens

    def _resume(self, text: list[int], seed: int) -> None:
        """Bring back a text that another one pushed out: all but its last token into the cache, the last one behind.

        A prefill draws a token too, which the last one replaces: the next is drawn by a step, as it would have been.
        """
        before = text[:-1]
        if self._common(before) < len(before):
            self._prefill(before, seed)
        with self._writing():
            del self._row.held[len(before) :]
            self._session.write("tokens", np.array(text[-1:]), len(before))

    def _common(self, tokens: Sequence[int]) -> int:
        """How many of the first tokens the cache holds."""
        pairs = zip(tokens, self._row.held, strict=False)
        return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(tokens), len(self._row.held)))

    def _prefill(self, prompt: list[int], seed: int) -> int:
        """Read the prompt from where it parts from what is held; the last token is always read. Returns the next."""
        common, chunk, token = self._common(prompt[:-1]), self.settings.chunk, -1
        for first in range(common, len(prompt), chunk):
            part = prompt[first : first + chunk]
            with self._writing():
                del self._row.held[first:]
                self._session.write("tokens", np.array(part), first)
                symbols = {PAST: first, NEW_TOKENS: len(part), "seed": seed}
                token = int(self._session.submit("prefill", symbols, ("tokens", first + len(part), 1))[0])
                self._row.held += part
            if len(prompt) - common > chunk:
                self._progress("reading the prompt", first + len(part) - common, len(prompt) - common)
        return token

    def _steps(self, last: int, count: int, seed: int) -> list[int]:
        """The next `count` tokens after `last`, in one submit, which sets the pace of the next one."""
        first = len(self._row.held)
        runs = [{PAST: first + i, "seed": seed} for i in range(count)]
        begin = time.perf_counter()
        with self._writing():
            tokens = self._session.replay("step", runs, ("tokens", first + 1, count)).tolist()
            self._row.held += [last, *tokens[:-1]]
        seconds = (time.perf_counter() - begin) / count
        self._pace = max(1, min(2 * self._pace, SLOTS, int(BUDGET / seconds)))
        return tokens

    def _count(self, options: Options) -> int:
        return 1 if options.logprobs is not None else int(options.steps_per_submit or self._pace)

    def _last_logits(self) -> np.ndarray:
        return self._session.read("logits", {}).reshape(-1)

    # text

    def _pieces(self, prompt: list[int], options: Options) -> Iterator[Piece]:
        text = Text(self._tokenizer, prompt, options.stops)
        tokens: list[int] = []
        logprobs: list[Logprob] | None = None if options.logprobs is None else []
        told, reason = 0, "context"
        for token in self._chosen(prompt, options):
            if token in self.settings.end and not options.ignore_eos:
                reason = "stop"
                break
            tokens.append(token)
            if logprobs is not None:
                logprobs.append(self._logprob(token, options.logprobs))
            new = text.add(token)
            if new or self._tokenizer is None:
                yield Piece(new, tokens[told:], logprobs and logprobs[told:])
                told = len(tokens)
            if text.stopped or len(tokens) == options.max_tokens:
                reason = "stop" if text.stopped else "length"
                break
        rest = text.end()
        if rest or told < len(tokens):
            yield Piece(rest, tokens[told:], logprobs and logprobs[told:])
        return Completion(text.said, tokens, reason, len(prompt), logprobs)

    def _chosen(self, prompt: list[int], options: Options) -> Iterator[int]:
        for tokens in self._tokens(prompt, options):
            yield from tokens

    def _logprob(self, token: int, count: int) -> Logprob:
        logits = self._last_logits().astype(np.float64)
        logprobs = logits - logits.max()
        logprobs -= np.log(np.exp(logprobs).sum())
        best = np.argsort(-logprobs, kind="stable")[:count].tolist()
        chosen, *top = (Logprob(t, self._shown(t), float(logprobs[t])) for t in (token, *best))
        return Logprob(chosen.token, chosen.text, chosen.logprob, top)

    def _shown(self, token: int) -> str:
        return "" if self._tokenizer is None else self._tokenizer.raw([token])


def _check(plan: Plan, s: Settings) -> None:
    """Raise BadBundle unless the plan is a language model's, of the sizes that the settings tell."""
    shapes = {b.name: (b.dtype, *b.shape) for b in plan.buffers if b.kind in SEEN}
    wanted = {
        "tokens": ("i32", 1, s.context + 1, 1),
        "sampling": ("f32", len(SAMPLING_OPTIONS)),
        "logits": ("f32", 1, 1, s.vocabulary),
    }
    sizes = {PAST: (0, s.context - 1), NEW_TOKENS: (1, s.chunk), "seed": (0, SEEDS - 1)}
    if not plan.programs.keys() >= {"prefill", "step"} or any(plan.symbols.get(k) != v for k, v in sizes.items()):
        raise BadBundle("the plan is broken: it is not the language model of generation.json; compile the model again")
    for name, type in wanted.items():
        if shapes.get(name) != type:
            raise BadBundle(f"the plan is broken: {name} is {shapes.get(name)}, not {type}; compile the model again")
