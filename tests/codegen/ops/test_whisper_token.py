"""Whisper's next token and its scores, against the logit filters of the reference."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from parity import Build, compiled, opened
from reference import filtered

from intaglio.compiler.ir.dims import Symbol, dim
from intaglio.compiler.ir.nodes import Node
from intaglio.compiler.ir.operators import WhisperToken
from intaglio.runtime.session import Session

P = dim(Symbol("P", 0, 63))
AT = 3  # the length of the prompts


def token_bits(tokens: Sequence[int], size: int) -> np.ndarray:
    words = np.zeros(-(-size // 32), np.uint32)
    for token in tokens:
        words[token // 32] |= np.uint32(1 << token % 32)
    return words


class Chooser:
    """A WhisperToken of its own with `text` texts, five special tokens and 31 timestamps."""

    def __init__(self, folder: Path, text: int) -> None:
        self.text, self.size = text, text + 5 + 31
        self.generation: dict[str, Any] = {
            "eos_token_id": text,
            "no_timestamps_token_id": text + 4,
            "suppress_tokens": [3, 17, text - 2, text + 1, text + 2, text + 3, text + 4],
            "begin_suppress_tokens": [5, text],
            "max_initial_timestamp_index": 10,
        }
        rules = {"end": text, "no_timestamps": text + 4, "first_timestamp": text + 5, "no_speech": text + 3}
        b = Build()
        logits, tokens = b.input("logits", 1, 1, self.size), b.state("tokens", 1, 20, 1, dtype="i32")
        suppress = b.state("suppress", 2, -(-self.size // 32), dtype="u32")
        sampling, scores = b.state("sampling", 2), b.state("scores", 20, 2)
        symbols = {
            "begin": dim(Symbol("begin", 0, 20)),
            "timed": dim(Symbol("timed", 0, 1)),
            "seed": dim(Symbol("seed", 0, 1 << 30)),
        }
        made = b.graph.value("token", tokens.type), b.graph.value("score", scores.type)
        choice = WhisperToken(logits, suppress, sampling, tokens, scores, at=P + 1, **symbols, **rules)
        b.graph.add(Node.of(choice, made, ("sampling",)))
        self.session: Session = opened(compiled(b.output(), folder / "bundle"))
        lists = (self.generation[f"{which}suppress_tokens"] for which in ("", "begin_"))
        self.session.write("suppress", np.stack([token_bits(tokens, self.size) for tokens in lists]))

    def choose(
        self, logits: np.ndarray, sampled: list[int], timed: bool, temperature: float = 0, seed: int = 0
    ) -> tuple[int, float, float]:
        """The token after those sampled, its log-probability and the probability of no speech."""
        symbols = {"P": AT + len(sampled) - 1, "begin": AT, "timed": int(timed), "seed": seed}
        tokens = np.zeros((1, 20, 1), np.int32)
        tokens[0, AT : AT + len(sampled), 0] = sampled
        numbers = [temperature, self.generation["max_initial_timestamp_index"]]
        states = {"tokens": tokens, "sampling": np.array(numbers, np.float32)}
        self.session.run("main", {"logits": logits[None, None], **states}, symbols)
        row = self.session.read("scores", symbols)[AT + len(sampled)]
        return int(self.session.read("tokens", symbols)[0, AT + len(sampled), 0]), float(row[0]), float(row[1])

    def history(self, random: np.random.Generator) -> list[int]:
        count = int(random.integers(0, 5))
        times = np.sort(random.integers(self.text + 5, self.size, count))
        return np.where(random.random(count) < 0.5, times, random.integers(0, self.text, count)).tolist()

    def logits(self, random: np.random.Generator) -> np.ndarray:
        values = random.standard_normal(self.size).astype(np.float32)
        values[self.text + 5 :] += random.choice([-3, 0, 3, 6])
        return values


@pytest.fixture(scope="module", params=[40, 2100], ids=["one slice", "two slices"])
def chooser(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Chooser:
    return Chooser(tmp_path_factory.mktemp("chooser"), request.param)


def softmax(logits: np.ndarray) -> np.ndarray:
    weights = np.exp(logits.astype(np.float64) - logits.max())
    return weights / weights.sum()


def test_the_likeliest_token_and_its_scores(chooser: Chooser) -> None:
    random = np.random.default_rng(0)
    for _ in range(100):
        logits, sampled, timed = chooser.logits(random), chooser.history(random), bool(random.random() < 0.7)
        probabilities = softmax(filtered(logits, sampled, timed, chooser.generation))
        token, log_probability, no_speech = chooser.choose(logits, sampled, timed)
        assert token == int(probabilities.argmax()), (sampled, timed)
        assert log_probability == pytest.approx(np.log(probabilities[token]), abs=1e-4)
        assert no_speech == pytest.approx(softmax(logits)[chooser.text + 3], rel=1e-4)


@pytest.mark.parametrize("sampled, timed", [([], False), ([], True), ([7], True), ([7, 8], True)])
def test_tokens_are_drawn_by_their_probability(chooser: Chooser, sampled: list[int], timed: bool) -> None:
    """The frequencies of the likeliest tokens, within four standard deviations; what is not allowed is never drawn."""
    logits, temperature, count = 3 * chooser.logits(np.random.default_rng(1)), 0.8, 400
    allowed = filtered(logits, sampled, timed, chooser.generation)
    drawn = [chooser.choose(logits, sampled, timed, temperature, seed) for seed in range(count)]
    probabilities = softmax(allowed / temperature)
    counts = np.bincount([token for token, *_ in drawn], minlength=chooser.size)
    assert not counts[probabilities == 0].any()
    for token in np.argsort(probabilities)[-4:]:
        p = probabilities[token]
        assert abs(counts[token] - count * p) <= 4 * np.sqrt(count * p * (1 - p)) + 1
    for token, log_probability, _ in drawn[:20]:  # that of the model, whatever the temperature
        assert log_probability == pytest.approx(np.log(softmax(allowed)[token]), abs=1e-4)


def test_the_same_seed_draws_the_same(chooser: Chooser) -> None:
    logits = chooser.logits(np.random.default_rng(2))
    first, second = ([chooser.choose(logits, [], False, 1.0, seed) for seed in range(20)] for _ in range(2))
    assert first == second and len({token for token, *_ in first}) > 5


def test_a_score_that_is_not_a_number(chooser: Chooser) -> None:
    for place in (0, 20, chooser.size - 1):
        logits = np.zeros(chooser.size, np.float32)
        logits[place] = np.nan
        assert chooser.choose(logits, [], True)[0] == -1
