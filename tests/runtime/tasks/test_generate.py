"""Text from a language model's programs: what is read again, how it ends, when text comes. The model is a few lines."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from intaglio.runtime.errors import BadBundle, NanScores
from intaglio.runtime.limits import SLOTS
from intaglio.runtime.plan import Buffer
from intaglio.runtime.tasks import tokenizer as runtime_tokenizer
from intaglio.runtime.tasks.generate import Completion, Generator, Piece, PromptTooLong, Settings
from intaglio.runtime.tasks.options import Options

BYTES = sorted(pre_tokenizers.ByteLevel.alphabet())
END, OTHER_END, START = 256, 257, 258
VOCABULARY, CONTEXT, CHUNK = 260, 40, 8  # one token more than the tokenizer knows
CONTENT = {
    "end": [END, OTHER_END],
    "start": START,
    "context": CONTEXT,
    "chunk": CHUNK,
    "vocabulary": VOCABULARY,
    "sampling": {"temperature": 0.5, "top_p": 0.9},
    "sampling_order": ["temperature", "top_k", "top_p", "min_p", "repetition_penalty"],
    "special": {"bos_token": "<s>", "eos_token": "</s>"},
}
SETTINGS = Settings.parse(CONTENT)


@pytest.fixture(scope="module")
def tokenizer() -> runtime_tokenizer.Tokenizer:
    """A token for each byte, then the special tokens."""
    made = Tokenizer(models.BPE({c: i for i, c in enumerate(BYTES)}, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens([AddedToken(name, special=True) for name in ("</s>", "<|end|>", "<s>")])
    return runtime_tokenizer.Tokenizer(made.to_str().encode())


def ids(words: str) -> list[int]:
    table = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    return [BYTES.index(c) for c in table.pre_tokenize_str(words)[0][0]] if words else []


Next = Callable[[list[int], int], int]  # the token after a text, drawn with a seed


def mixed(tokens: list[int], seed: int) -> int:
    """Depends on every token before and on its place: what is wrong in the cache shows."""
    return sum((i + 3) * (t + 1) for i, t in enumerate(tokens)) % 250


def saying(words: str | list[int], after: int) -> Next:
    """A model that says `words` after a prompt of so many tokens, then the end token, forever."""
    said = ids(words) if isinstance(words, str) else words
    return lambda tokens, seed: said[len(tokens) - after] if len(tokens) - after < len(said) else END


class Model:
    """An session whose programs have a cache of keys, here the tokens themselves, and choose by `next`."""

    def __init__(self, next: Next = mixed) -> None:
        self.next = next
        shapes = {"tokens": ("i32", CONTEXT + 1, 1), "sampling": ("f32",), "logits": ("f32", 1, VOCABULARY)}
        sizes = {"tokens": (1, CONTEXT + 1, 1), "sampling": (5,), "logits": (1, 1, VOCABULARY)}
        buffers = [Buffer("state", 16, name, shapes[name][0], sizes[name]) for name in shapes]
        symbols = {"past": (0, CONTEXT - 1), "new_tokens": (1, CHUNK), "seed": (0, 2**31 - 1), "drawn": (0, 1)}
        self.plan = SimpleNamespace(programs=dict.fromkeys(("prefill", "step")), symbols=symbols, buffers=buffers)
        self.tokens = np.full(CONTEXT + 1, -1)
        self.keys = np.full(CONTEXT, -1)
        self.sampling = np.full(5, np.nan)
        self.logits = np.zeros(VOCABULARY, np.float32)
        self.calls: list[tuple[str, int, int]] = []  # program, first row, rows
        self.interrupt: Callable[[], None] = lambda: None
        self.lock, self.writes = threading.RLock(), 0

    def write(self, name: str, array: np.ndarray, offset: int = 0) -> None:
        self.writes += 1
        target = getattr(self, name)
        assert array.ndim == 1 and offset >= 0 and offset + len(array) <= len(target)
        target[offset : offset + len(array)] = array

    def read(self, name: str, symbols: dict[str, int]) -> np.ndarray:
        assert name == "logits"
        return self.logits[None, None]

    def submit(self, program: str, symbols: dict[str, int], read: tuple[str, int, int] | None = None) -> Any:
        return self.replay(program, [symbols], read)

    def replay(self, program: str, runs: Sequence[dict[str, int]], read: tuple[str, int, int] | None = None) -> Any:
        assert 1 <= len(runs) <= SLOTS
        self.writes += 1
        first, rows = runs[0]["past"], len(runs) if program == "step" else runs[0]["new_tokens"]
        self.calls.append((program, first, rows))
        for symbols in runs:
            assert symbols.get("drawn", 0) == (self.sampling[0] > 0)
            assert all(low <= symbols.get(k, low) <= high for k, (low, high) in self.plan.symbols.items())
            at, new = symbols["past"], symbols.get("new_tokens", 1)
            self.keys[at : at + new] = self.tokens[at : at + new]
            self.tokens[at + new] = self.next(self.keys[: at + new].tolist(), symbols.get("seed", 0))
            self.logits[:] = np.cos(np.arange(VOCABULARY) * (at + new) * 0.7) * 3
            self.interrupt()
        if read is not None:
            name, start, count = read
            assert name == "tokens"
            return self.tokens[start : start + count].astype(np.int32)

    def launch(self, program: str, runs: Sequence[dict[str, int]], read: tuple[str, int, int]) -> Any:
        words = self.replay(program, runs, read)
        return SimpleNamespace(words=lambda: words)

    @property
    def prefilled(self) -> list[tuple[int, int]]:
        """(first row, rows) of each prefill."""
        return [(first, rows) for program, first, rows in self.calls if program == "prefill"]


def expected(prompt: Sequence[int], count: int, next: Next = mixed, seed: int = 0) -> list[int]:
    """The tokens that follow, without any cache."""
    tokens = list(prompt)
    for _ in range(count):
        tokens.append(next(tokens, seed))
    return tokens[len(prompt) :]


def complete(generator: Generator, prompt: Sequence[int], **options: Any) -> Completion:
    stream = generator.generate(prompt, Options(**options))
    pieces = list(stream)
    result = stream.finish()
    assert stream.result is result
    assert "".join(piece.text for piece in pieces) == result.text
    assert [token for piece in pieces for token in piece.tokens] == result.tokens
    return result


# how a text is read and goes on


@pytest.mark.parametrize("steps", [None, 1, 2, 5, 16])
@pytest.mark.parametrize("length", [1, 2, 7, 8, 9, 16, 17, 30])
def test_tokens_follow_a_prompt(length: int, steps: int | None) -> None:
    """In chunks, and however many steps a submit holds."""
    model = Model()
    prompt = list(range(length))
    result = complete(Generator(model, SETTINGS, None), prompt, max_tokens=9, steps_per_submit=steps)
    assert result == Completion("", expected(prompt, 9), "length", length)
    assert model.prefilled == [(first, min(8, length - first)) for first in range(0, length, 8)]
    most = max(rows for program, _, rows in model.calls if program == "step")
    assert most == min(8, steps) if steps else most <= 8


@pytest.mark.parametrize("count", [1, 2, 3])
def test_no_step_runs_for_nothing(count: int) -> None:
    model = Model()
    result = complete(Generator(model, SETTINGS, None), [5, 6], max_tokens=count)
    assert len(result.tokens) == count
    assert sum(rows for program, _, rows in model.calls if program == "step") == count - 1


@pytest.mark.parametrize("steps", [1, 4, 16])
@pytest.mark.parametrize("length", [1, 30, CONTEXT - 1, CONTEXT])
def test_a_full_context(length: int, steps: int) -> None:
    """The last token needs no row of its own."""
    model, prompt = Model(), list(range(length))
    result = complete(Generator(model, SETTINGS, None), prompt, steps_per_submit=steps, ignore_eos=True)
    assert result == Completion("", expected(prompt, CONTEXT + 1 - length), "context", length)


@pytest.mark.parametrize("length", [CONTEXT + 1, 1000])
def test_a_prompt_that_is_too_long(length: int) -> None:
    model = Model()
    with pytest.raises(PromptTooLong, match=f"has {length} tokens, the context 40; .* --max-length"):
        Generator(model, SETTINGS, None).generate([1] * length, Options())
    assert not model.calls


def test_an_empty_prompt() -> None:
    model = Model()
    assert complete(Generator(model, SETTINGS, None), [], max_tokens=2).tokens == expected([START], 2)
    with pytest.raises(ValueError, match="the prompt is empty"):
        Generator(model, replace(SETTINGS, start=None), None).generate([], Options())


@pytest.mark.parametrize("prompt", [[-1], [1, VOCABULARY], [0.5], [[1, 2]], ["a"], [True, False], [None]])
def test_prompts_that_are_refused(prompt: Any) -> None:
    with pytest.raises(ValueError, match=r"token id -?\d+ .*vocabulary of|a list of token ids"):
        Generator(Model(), SETTINGS, None).generate(prompt, Options())


def test_prompts_that_are_taken() -> None:
    generator = Generator(Model(), SETTINGS, None)
    for prompt in [1, 2], (1, 2), np.array([1, 2]), np.array([1, 2], np.uint8):
        assert complete(generator, prompt, max_tokens=3).tokens == expected([1, 2], 3)


# what the cache holds


def test_a_common_prefix_is_not_read_again() -> None:
    """What was generated counts too; what differs is read from there on, and always the last token."""
    model = Model()
    generator = Generator(model, SETTINGS, None)
    prompt = list(range(10))
    said = complete(generator, prompt, max_tokens=6).tokens
    longer = [*prompt, *said, 7, 7]
    cases = [
        (longer, 15),  # the last token said was not read yet
        (longer, 17),
        (longer[:12], 11),
        ([*longer[:4], 99, *longer[5:]], 4),
        ([99, *longer[1:]], 0),
        ([99], 0),
    ]
    for again, first in cases:
        model.calls.clear()
        assert complete(generator, again, max_tokens=3).tokens == expected(again, 3)
        assert model.prefilled[0][0] == first and sum(rows for _, rows in model.prefilled) == len(again) - first


def test_a_text_that_is_left_leaves_the_truth() -> None:
    """However far a stream was read."""
    for count, steps in itertools.product(range(6), (1, 3)):
        model = Model()
        generator = Generator(model, SETTINGS, None)
        stream = generator.generate([1, 2, 3], Options(steps_per_submit=steps, ignore_eos=True))
        said = [token for piece in itertools.islice(stream, count) for token in piece.tokens]
        assert said == expected([1, 2, 3], count)
        longer = [1, 2, 3, *said, 50]
        assert complete(generator, longer, max_tokens=5).tokens == expected(longer, 5)


@pytest.mark.parametrize("when", range(8))
def test_an_interrupted_text_leaves_the_truth(when: int) -> None:
    """In the prefill, between its chunks, in a step, or in the middle of several."""
    model = Model()
    generator = Generator(model, SETTINGS, None)
    complete(generator, [9] * 12, max_tokens=4)
    runs = itertools.count()

    def interrupt() -> None:
        if next(runs) == when:
            raise KeyboardInterrupt

    prompt = [9] * 6 + [8] * 12
    model.interrupt = interrupt
    with pytest.raises(KeyboardInterrupt):
        complete(generator, prompt, steps_per_submit=3, ignore_eos=True)
    model.interrupt = lambda: None
    model.calls.clear()
    assert complete(generator, prompt, max_tokens=9).tokens == expected(prompt, 9)
    assert model.prefilled[0][0] >= 6, "what was read before is not lost"
    assert when < 2 or model.prefilled[0][0] == len(prompt) - 1


@pytest.mark.parametrize("when", range(6))
def test_an_interrupted_wait_leaves_the_truth(monkeypatch: pytest.MonkeyPatch, when: int) -> None:
    """The next steps are in flight then; what they write lies beyond what counts as held."""
    model = Model()
    generator = Generator(model, SETTINGS, None)
    launch, waits = model.launch, itertools.count()

    def launching(*arguments: Any) -> Any:
        words = launch(*arguments).words

        def interrupted() -> Any:
            if next(waits) == when:
                raise KeyboardInterrupt
            return words()

        return SimpleNamespace(words=interrupted)

    monkeypatch.setattr(model, "launch", launching)
    with pytest.raises(KeyboardInterrupt):
        complete(generator, [1, 2, 3], steps_per_submit=2, ignore_eos=True)
    assert [rows for program, _, rows in model.calls if program == "step"] == [2] * (when + 2), "one was in flight"
    model.calls.clear()
    longer = [1, 2, 3, *expected([1, 2, 3], 2 * when + 1), 50, 51]
    assert complete(generator, longer, max_tokens=9, steps_per_submit=2).tokens == expected(longer, 9)
    assert model.prefilled[0][0] == 3 + 2 * when, "what was read is held, and no more"


@pytest.mark.parametrize("steps", [1, 3])
def test_what_was_in_flight_at_the_end_is_not_held(steps: int) -> None:
    """Steps after an end token wrote rows of the cache, which later texts do not see."""
    said = expected([1, 2], 4)
    model = Model(lambda tokens, seed: END if tokens[2:] == said else mixed(tokens, seed))
    generator = Generator(model, SETTINGS, None)
    assert complete(generator, [1, 2], steps_per_submit=steps).tokens == said
    submitted = sum(rows for program, _, rows in model.calls if program == "step")
    assert 4 <= submitted <= 4 + 2 * steps
    for longer in [1, 2, *said, 60, 61], [1, 2, *said], [1, 2, *said, END, 9], [1, 2, *said[:2], 70]:
        assert complete(generator, longer, max_tokens=6, ignore_eos=True).tokens == expected(longer, 6, model.next)


@pytest.mark.parametrize("steps", [1, 2, 5])
@pytest.mark.parametrize("bad", range(1, 8))
def test_nan_scores_are_found_with_steps_in_flight(bad: int, steps: int) -> None:
    """Every token before them comes first, and the cache counts as empty."""
    model = Model()
    model.next = lambda tokens, seed: -1 if len(tokens) >= 2 + bad else mixed(tokens, seed)
    generator = Generator(model, SETTINGS, None)
    tokens = []
    with pytest.raises(NanScores, match=rf"token {bad + 1} are NaN"):
        for piece in generator.generate([1, 2], Options(steps_per_submit=steps)):
            tokens += piece.tokens
    assert tokens == expected([1, 2], bad)
    model.next = mixed
    model.calls.clear()
    assert complete(generator, [1, 2, 3], max_tokens=3).tokens == expected([1, 2, 3], 3)
    assert model.prefilled[0] == (0, 3)


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("other", [[3], [1, 2], [1, 2, 9, 9, 9, 9], list(range(20))])
def test_texts_take_turns(other: list[int], steps: int) -> None:
    """Each goes on as it would alone, whatever the other one left in the cache; what both share is not read again."""
    model = Model()
    generator = Generator(model, SETTINGS, None)
    prompts = [1, 2], other
    streams = [
        generator.generate(prompt, Options(max_tokens=12, temperature=t, seed=1, steps_per_submit=steps))
        for prompt, t in zip(prompts, (0.5, 0.25), strict=True)
    ]
    texts: list[list[int]] = [[], []]
    for _ in range(12):
        for i, stream in enumerate(streams):
            texts[i] += next(stream).tokens
    assert texts == [expected(prompt, 12, seed=1) for prompt in prompts]
    if other[:2] == [1, 2]:
        assert all(first >= 1 for first, _ in model.prefilled[1:])


def test_a_text_goes_on_after_others_wrote() -> None:
    model = Model()
    generator = Generator(model, SETTINGS, None)
    stream = generator.generate([1, 2, 3], Options(max_tokens=9, steps_per_submit=2))
    tokens = []
    for piece in stream:
        tokens += piece.tokens
        model.keys[:] = 77
        model.write("tokens", np.full(CONTEXT + 1, 77))
        model.write("sampling", np.full(5, 77))
    assert tokens == expected([1, 2, 3], 9)


def test_what_others_wrote_is_not_held() -> None:
    model = Model()
    generator = Generator(model, SETTINGS, None)
    complete(generator, [1, 2, 3, 4], max_tokens=2)
    model.keys[:] = 77
    model.write("tokens", np.full(CONTEXT + 1, 77))
    assert complete(generator, [1, 2, 3, 5], max_tokens=2).tokens == expected([1, 2, 3, 5], 2)
    assert model.prefilled[-1] == (0, 4)


def test_a_dropped_stream_holds_no_lock() -> None:
    model = Model()
    generator = Generator(model, SETTINGS, None)
    next(generator.generate([1, 2], Options()))
    thread = threading.Thread(target=lambda: complete(generator, [3], max_tokens=2), daemon=True)
    thread.start()
    thread.join(10)
    assert not thread.is_alive()


# how it ends


@pytest.mark.parametrize("steps", [1, 4])
@pytest.mark.parametrize("end", [END, OTHER_END])
def test_end_tokens(tokenizer: runtime_tokenizer.Tokenizer, end: int, steps: int) -> None:
    said = [*ids("abc"), end, *ids("d")]
    generator = Generator(Model(saying(said, 2)), SETTINGS, tokenizer)
    options = {"max_tokens": 5, "steps_per_submit": steps}
    assert complete(generator, [1, 2], **options) == Completion("abc", ids("abc"), "stop", 2)
    assert complete(generator, [1, 2], ignore_eos=True, **options) == Completion("abcd", said, "length", 2)
    assert complete(generator, [1, 2], max_tokens=3) == Completion("abc", ids("abc"), "length", 2)


STOPS = [
    ("one. two. three", ".", "one", "one."),
    ("one. two. three", [".", "e"], "on", "one"),
    ("one\n\nUser: hi", "\nUser:", "one\n", "one\n\nUser:"),
    ("aaab", "aab", "a", "aaab"),
    ("ababac", "abac", "ab", "ababac"),
    ("nothing", ["x", "nothinh"], "nothing", "nothing"),
    ("almost sto", "stop", "almost sto", "almost sto"),
    ("stop", "stop", "", "stop"),
    ("héllo 5 € now", "€", "héllo 5 ", "héllo 5 €"),
]


@pytest.mark.parametrize("steps", [1, 5])
@pytest.mark.parametrize("said, stop, text, read", STOPS)
def test_stop_strings(
    tokenizer: runtime_tokenizer.Tokenizer, said: str, stop: Any, text: str, read: str, steps: int
) -> None:
    """Split over tokens anywhere. Nothing of them is told, and tokens go up to the one that completes them."""
    generator = Generator(Model(saying(said, 1)), SETTINGS, tokenizer)
    result = complete(generator, [1], stop=stop, steps_per_submit=steps)
    assert (result.text, result.tokens, result.finish_reason) == (text, ids(read), "stop")


def test_text_is_held_back_only_while_it_may_be_a_stop_string(tokenizer: runtime_tokenizer.Tokenizer) -> None:
    generator = Generator(Model(saying("ab<x<en", 1)), SETTINGS, tokenizer)
    pieces = list(generator.generate([1], Options(stop=["<end>", "zz"])))
    assert [piece.text for piece in pieces] == ["a", "b", "<x", "<en"]
    assert [len(piece.tokens) for piece in pieces] == [1, 1, 2, 3]


def test_stop_strings_need_a_tokenizer() -> None:
    with pytest.raises(ValueError, match="needs a tokenizer"):
        Generator(Model(), SETTINGS, None).generate([1], Options(stop="x"))


# text


def test_characters_come_whole(tokenizer: runtime_tokenizer.Tokenizer) -> None:
    generator = Generator(Model(saying("a€ 你好 🎉!", 1)), SETTINGS, tokenizer)
    pieces = list(generator.generate([1], Options()))
    assert [piece.text for piece in pieces] == ["a", "€", " ", "你", "好", " ", "🎉", "!"]
    assert [len(piece.tokens) for piece in pieces] == [1, 3, 1, 3, 3, 1, 4, 1]


@pytest.mark.parametrize("cut", [1, 2])
def test_a_character_that_the_end_cuts_is_dropped(tokenizer: runtime_tokenizer.Tokenizer, cut: int) -> None:
    generator = Generator(Model(saying("5 €", 1)), SETTINGS, tokenizer)
    result = complete(generator, [1], max_tokens=5 - cut)
    assert (result.text, result.tokens) == ("5 ", ids("5 €")[:-cut])


def test_bytes_that_are_not_text(tokenizer: runtime_tokenizer.Tokenizer) -> None:
    """They become replacement characters once it is clear that they stay so."""
    broken = [ids("€")[0], ids("€")[0], *ids("ok")]
    result = complete(Generator(Model(saying(broken, 1)), SETTINGS, tokenizer), [1])
    assert result.text == "\ufffd\ufffdok" and result.tokens == broken


def test_special_and_unknown_tokens_have_no_text(tokenizer: runtime_tokenizer.Tokenizer) -> None:
    said = [*ids("a"), START, 259, *ids("b"), START]
    result = complete(Generator(Model(saying(said, 1)), SETTINGS, tokenizer), [1])
    assert (result.text, result.tokens) == ("ab", said)


def test_a_long_prompt_reports_progress() -> None:
    told = []
    generator = Generator(Model(), SETTINGS, None, lambda *work: told.append(work))
    complete(generator, [1] * 20, max_tokens=1)
    assert told == [("reading the prompt", n, 20) for n in (8, 16, 20)]
    complete(generator, [1] * 20 + [2] * 5, max_tokens=1)
    assert len(told) == 3


# drawing


def test_sampling_options_reach_the_adapter() -> None:
    model = Model()
    generator = Generator(model, SETTINGS, None)
    complete(generator, [1], max_tokens=1, temperature=0.7, top_k=40, top_p=0.9, min_p=0.05, repetition_penalty=1.1)
    np.testing.assert_array_equal(model.sampling, np.array([0.7, 40, 0.9, 0.05, 1.1], np.float32))
    complete(generator, [1], max_tokens=1)
    np.testing.assert_array_equal(model.sampling, [0, 0, 1, 0, 1])
    complete(generator, [1], max_tokens=1, temperature=1e-9)
    assert model.sampling[0] == 0
    complete(generator, [1], max_tokens=1, temperature=2)
    generator.logits([1])
    assert model.sampling[0] == 0


def test_seeds() -> None:
    """One for the whole text; another one each time where none is given."""

    def next(tokens: list[int], seed: int) -> int:
        return (seed + len(tokens)) % 250

    generator = Generator(Model(next), SETTINGS, None)
    assert complete(generator, [1, 2], max_tokens=9, seed=123).tokens == expected([1, 2], 9, next, 123)
    assert len({complete(generator, [1], max_tokens=1).tokens[0] for _ in range(50)}) > 10


# probabilities


@pytest.mark.parametrize("count", [0, 1, 4])
def test_logprobs(tokenizer: runtime_tokenizer.Tokenizer, count: int) -> None:
    """Of the model's own distribution, one step in a submit."""
    model = Model(saying("abc", 1))
    result = complete(Generator(model, SETTINGS, tokenizer), [1], logprobs=count, temperature=2, steps_per_submit=9)
    assert {rows for _, _, rows in model.calls} == {1}
    assert [lp.token for lp in result.logprobs] == result.tokens == ids("abc")
    for i, lp in enumerate(result.logprobs):
        logits = (np.cos(np.arange(VOCABULARY) * (i + 1) * 0.7) * 3).astype(np.float32).astype(np.float64)
        logprobs = logits - np.log(np.exp(logits).sum())
        best = np.argsort(-logprobs, kind="stable")[:count]
        assert lp.text == "abc"[i] and lp.logprob == pytest.approx(logprobs[lp.token])
        assert [top.token for top in lp.top] == best.tolist()
        np.testing.assert_allclose([top.logprob for top in lp.top], logprobs[best])


def test_logprobs_come_with_the_pieces(tokenizer: runtime_tokenizer.Tokenizer) -> None:
    stream = Generator(Model(saying("a€", 1)), SETTINGS, tokenizer).generate([1], Options(logprobs=1))
    pieces = list(stream)
    assert [[lp.token for lp in piece.logprobs] for piece in pieces] == [ids("a"), ids("€")]
    assert complete(Generator(Model(), SETTINGS, None), [1], max_tokens=1).logprobs is None


def test_logits() -> None:
    """Of each place, and the cache afterwards holds those tokens."""
    model = Model()
    generator = Generator(model, SETTINGS, None)
    complete(generator, [4, 5, 6], max_tokens=5)
    tokens = [4, 5, 9, 10]
    rows = generator.logits(tokens)
    expected_rows = [np.cos(np.arange(VOCABULARY) * (i + 1) * 0.7) * 3 for i in range(4)]
    assert rows.dtype == np.float32
    np.testing.assert_allclose(rows, expected_rows, rtol=1e-5, atol=1e-6)
    assert model.keys[:4].tolist() == tokens
    assert complete(generator, [*tokens, 3], max_tokens=4).tokens == expected([*tokens, 3], 4)
    assert model.prefilled[-1] == (4, 1)
    assert generator.logits([]).shape == (0, VOCABULARY)
    with pytest.raises(PromptTooLong):
        generator.logits([1] * (CONTEXT + 1))


# several steps in a submit


def submits(model: Model) -> list[int]:
    return [rows for program, _, rows in model.calls if program == "step"]


@pytest.mark.parametrize("steps", [1, 3, 16])
def test_the_steps_of_a_submit_can_be_set(steps: int) -> None:
    model = Model()
    complete(Generator(model, SETTINGS, None), [1], ignore_eos=True, steps_per_submit=steps)
    assert set(submits(model)[:-1]) == {steps} and sum(submits(model)) == CONTEXT - 1


# refusals


@pytest.mark.parametrize(
    "options, message",
    [
        ({"max_tokens": 0}, "max_tokens: .*from 1, got 0"),
        ({"max_tokens": 1.5}, "max_tokens: .*got 1.5"),
        ({"max_tokens": True}, "max_tokens: .*got True"),
        ({"temperature": -1}, "temperature: .*from 0, got -1"),
        ({"temperature": float("nan")}, "temperature: .*got nan"),
        ({"temperature": float("inf")}, "temperature: .*got inf"),
        ({"temperature": "hot"}, "temperature: .*got 'hot'"),
        ({"temperature": None}, "temperature: .*got None"),
        ({"top_k": -1}, "top_k: .*got -1"),
        ({"top_k": None}, "top_k: .*got None"),
        ({"top_p": 1.1}, "top_p: .*from 0 to 1, got 1.1"),
        ({"min_p": 2}, "min_p: .*got 2"),
        ({"repetition_penalty": 0}, "repetition_penalty: .*1 means no penalty"),
        ({"repetition_penalty": -1}, "repetition_penalty: .*got -1"),
        ({"seed": -1}, "seed: .*from 0 to 2147483647, got -1"),
        ({"seed": 2**31}, "seed: .*got 2147483648"),
        ({"logprobs": -1}, "logprobs: .*got -1"),
        ({"steps_per_submit": 0}, "steps_per_submit: .*from 1 to 64, got 0"),
        ({"steps_per_submit": 65}, "steps_per_submit: .*got 65"),
        ({"stop": ""}, "stop: "),
        ({"stop": ["a", ""]}, "stop: "),
        ({"stop": [1]}, "stop: "),
    ],
)
def test_options_that_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Options(**options)


@pytest.mark.parametrize(
    "change",
    [
        {"end": None},
        {"end": ["</s>"]},
        {"end": [-1]},
        {"start": -1},
        {"start": "1"},
        {"context": 0},
        {"context": 41},
        {"chunk": 16},
        {"vocabulary": True},
        {"vocabulary": 512},
        {"sampling": {"warmth": 1}},
        {"sampling": [1]},
        {"sampling_order": ["temperature", "top_p", "top_k", "min_p", "repetition_penalty"]},
        {"sampling_order": None},
        {"special": {"bos_token": 3}},
        {"special": None},
    ],
)
def test_broken_settings(change: dict[str, Any]) -> None:
    with pytest.raises(BadBundle, match=r"generation\.json|the plan is broken"):
        Generator(Model(), Settings.parse(CONTENT | change), None)


@pytest.mark.parametrize("name", CONTENT)
def test_missing_settings(name: str) -> None:
    with pytest.raises(BadBundle, match=rf"generation\.json is broken: '{name}'"):
        Settings.parse({k: v for k, v in CONTENT.items() if k != name})


def test_another_plan() -> None:
    for change in {"programs": {"main": None}}, {"symbols": {}}, {"buffers": []}:
        model = Model()
        vars(model.plan).update(change)
        with pytest.raises(BadBundle, match="the plan is broken"):
            Generator(model, SETTINGS, None)


def test_pieces_without_a_tokenizer() -> None:
    stream = Generator(Model(), SETTINGS, None).generate([1], Options(max_tokens=3))
    assert stream.result is None
    assert list(stream) == [Piece("", [token]) for token in expected([1], 3)]
    assert stream.result.finish_reason == "length" and list(stream) == []
    assert stream.result.tokens == expected([1], 3)
