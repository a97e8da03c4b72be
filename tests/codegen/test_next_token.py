"""The next token: the best one, or one that is drawn. The oracle follows the logits processors of transformers."""

from __future__ import annotations

import tempfile
from collections import Counter
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from bundles import whole_plan
from parity import Build, compiled, every_variant

import tint
from intaglio.compiler.ir.dims import Symbol, dim
from intaglio.compiler.ir.nodes import Node
from intaglio.compiler.ir.operators import SampleToken
from intaglio.runtime.instruments.autotune import autotune
from intaglio.runtime.progress import silent
from intaglio.runtime.session import Session

CONTEXT = 64
COMPARED = 96  # tokens that every variant draws
P, SEED = dim(Symbol("past", 0, CONTEXT - 1)), dim(Symbol("seed", 0, (1 << 31) - 1))
DRAWN = dim(Symbol("drawn", 0, 1))
SIZES = [1, 3, 4, 255, 1000, 8191, 8192, 8193, 20_002, 152_064]


def build(vocabulary: int, folder: Path) -> Path:
    """A program that is nothing but the choice of the token at P+1."""
    b = Build()
    logits = b.input("logits", 1, 1, vocabulary)
    sampling, tokens = b.state("sampling", 5), b.state("tokens", 1, CONTEXT + 1, 1, dtype="i32")
    made = b.graph.value("token", tokens.type)
    b.graph.add(
        Node.of(SampleToken(logits, sampling, tokens, at=P + 1, seed=SEED, drawn=DRAWN), (made,), ("sampling",))
    )
    return compiled(b.output(), folder)


@cache
def samplers(vocabulary: int) -> list[Session]:
    """One for each variant of the choice."""
    with tempfile.TemporaryDirectory() as folder:
        _, *sessions = every_variant(build(vocabulary, Path(folder, "bundle")))
    assert len(sessions) == 2
    return sessions


def choose(logits: np.ndarray, sampling: tuple[float, ...] = (), seed: int = 0, past: tuple[int, ...] = (0,)) -> int:
    """The token after `past`, in every variant. sampling: temperature, top_k, top_p, min_p, repetition_penalty."""
    tokens = []
    for session in samplers(len(logits)):
        session.write("logits", logits)
        session.write("sampling", np.resize([*sampling, *[0] * 5], 5).astype(np.float32))
        session.write("tokens", np.array(past))
        tokens += session.submit("main", {"past": len(past) - 1, "seed": seed}, ("tokens", len(past), 1)).tolist()
    assert len(set(tokens)) == 1
    return tokens[0]


def draw(logits: np.ndarray, sampling: tuple[float, ...], count: int, seed: int = 0) -> list[int]:
    """Tokens drawn from the same logits, sixteen positions for each seed. Other variants draw the first ones too."""
    choose(logits, sampling)
    first, *others = samplers(len(logits))
    drawn = _drawn(first, count, seed)
    for session in others:
        assert _drawn(session, min(count, COMPARED), seed) == drawn[:COMPARED]
    return drawn


def _drawn(session: Session, count: int, seed: int) -> list[int]:
    drawn = []
    for i in range(-(-count // 16)):
        runs = [{"past": p, "seed": seed + i} for p in range(16)]
        drawn += session.replay("main", runs, ("tokens", 1, 16)).tolist()
    return drawn[:count]


def probabilities(
    logits: np.ndarray,
    temperature: float,
    top_k: int = 0,
    top_p: float = 0,
    min_p: float = 0,
    penalty: float = 0,
    past: tuple[int, ...] = (),
) -> np.ndarray:
    """Of every token, by sorting; 0 for those that are not kept."""
    scores = logits.astype(np.float64)
    if penalty:
        seen = np.unique(np.array(past, int))
        scores[seen] = np.where(scores[seen] < 0, scores[seen] * penalty, scores[seen] / penalty)
    scores /= temperature
    if top_k:
        scores[scores < np.sort(scores)[-min(top_k, len(scores))]] = -np.inf
    if 0 < top_p < 1:
        order = np.argsort(-scores)
        before = np.cumsum(softmax(scores)[order]) - softmax(scores)[order]
        scores[order[before >= top_p]] = -np.inf
    if min_p:
        scores[softmax(scores) < min_p * softmax(scores).max()] = -np.inf
    return softmax(scores)


def softmax(scores: np.ndarray) -> np.ndarray:
    weights = np.exp(scores - scores.max())
    return weights / weights.sum()


def kept(logits: np.ndarray, *sampling: float) -> set[int]:
    return set(np.flatnonzero(probabilities(logits, *sampling)).tolist())


def normal(vocabulary: int, seed: int = 0, scale: float = 3) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal(vocabulary) * scale).astype(np.float32)


# the best token


@pytest.mark.parametrize("vocabulary", SIZES)
def test_the_best_token(vocabulary: int) -> None:
    for seed in range(3):
        logits = normal(vocabulary, seed)
        assert choose(logits) == logits.argmax()
        assert choose(-np.abs(logits) - 1) == np.abs(logits).argmin()
    for where in {0, vocabulary // 2, vocabulary - 1}:
        logits[where] = 100
        assert choose(logits) == where
        logits[where] = 0


def test_of_equals_the_first() -> None:
    """Wherever they lie: in one vec4, one lane, one slice, or far apart."""
    for first, second in [(0, 1), (5, 6), (7, 8), (3, 1024), (1023, 1024), (2, 8192), (9000, 19_999), (8191, 8192)]:
        logits = np.full(20_002, -1, np.float32)
        logits[[first, second]] = 2
        assert choose(logits) == first
    assert choose(np.zeros(20_002, np.float32)) == 0
    assert choose(np.full(20_002, -np.inf, np.float32)) == 0


def test_greedy_ignores_sampling_options() -> None:
    logits = normal(1000)
    assert {choose(logits, (0, 50, 0.5, 0.1, 1), seed) for seed in range(9)} == {logits.argmax()}


@pytest.mark.parametrize("vocabulary", [3, 1000, 20_002])
@pytest.mark.parametrize("sampling", [(), (1,), (1, 20), (0, 0, 0, 0, 1.3)])
def test_no_token_if_a_score_is_nan(vocabulary: int, sampling: tuple[float, ...]) -> None:
    """Wherever it is, of either sign. Infinity is a score."""
    for where in {0, vocabulary // 2, vocabulary - 1}:
        for nan in np.array([0x7FC00000, 0xFFC00000, 0x7F800001], np.uint32).view(np.float32):
            logits = normal(vocabulary)
            logits[where] = nan
            assert choose(logits, sampling) == -1
        logits[where] = -np.inf
        assert 0 <= choose(logits, sampling) < vocabulary
    assert choose(np.full(vocabulary, np.nan, np.float32), sampling) == -1


# repetition


@pytest.mark.parametrize("vocabulary", [40, 20_002])
@pytest.mark.parametrize("penalty", [1.3, 3.0, 0.5])
def test_repetition(vocabulary: int, penalty: float) -> None:
    """Every token of the text counts, once, whatever slice it lies in; none that only followed before."""
    random = np.random.default_rng(0)
    for i in range(20):
        logits = normal(vocabulary, i, 1) - (i % 3)
        past = tuple(random.choice(np.argsort(-logits)[:30], int(random.integers(1, CONTEXT))).tolist())
        for session in samplers(vocabulary):
            session.write("tokens", np.argsort(-logits)[:CONTEXT])
        expected = probabilities(logits, 1, penalty=penalty, past=past).argmax()
        assert choose(logits, (0, 0, 0, 0, penalty), past=past) == expected


@pytest.mark.parametrize("off", [0, 1])
def test_no_repetition_penalty(off: float) -> None:
    logits = normal(1000)
    assert choose(logits, (0, 0, 0, 0, off), past=(int(logits.argmax()),) * 5) == logits.argmax()


# drawing: temperatures so high that what is kept is drawn about evenly, so that all of it is seen


@pytest.mark.parametrize("vocabulary", [255, 8193])
@pytest.mark.parametrize(
    "sampling",
    [
        (60, 1),
        (60, 7),
        (60, 20),
        (60, 0, 0.004),
        (60, 0, 0.01),
        (60, 0, 1e-6),
        (60, 0, 0, 0.97),
        (60, 30, 0.5),
        (60, 30, 0.3, 0.9),
        (60, 30, 0.9, 0.99),
        (0.01, 5, 0.999, 0.001),
    ],
    ids=str,
)
def test_candidates(vocabulary: int, sampling: tuple[float, ...]) -> None:
    logits = normal(vocabulary, vocabulary)
    wanted = kept(logits, *sampling)
    drawn = set(draw(logits, sampling, 16 * (1 + len(wanted))))
    assert drawn <= wanted and (sampling[0] < 1 or drawn == wanted)


@pytest.mark.parametrize("sampling", [(60, 0, 0.00004), (60, 6), (60, 40, 0.1)], ids=str)
def test_candidates_among_many_tokens(sampling: tuple[float, ...]) -> None:
    logits = normal(152_064)
    assert set(draw(logits, sampling, 160)) == kept(logits, *sampling)


@pytest.mark.parametrize("sampling", [(0.7, 0, 0.95), (1, 50, 0.95), (1.5, 0, 0.99), (2, 5000, 0.9, 0.001)], ids=str)
def test_usual_options_among_many_tokens(sampling: tuple[float, ...]) -> None:
    logits = normal(152_064, 7)
    drawn = set(draw(logits, sampling, 96))
    assert drawn <= kept(logits, *sampling) and len(drawn) > 20


def test_limits_fall_on_the_same_token_in_every_variant() -> None:
    """Wherever they lie: among equals, in the bin of the highest score, or far below it."""
    for logits in (
        np.repeat(np.float32([5, 4, 4.01, -40, 1e30, -3e38]), 2000),
        normal(8193, 3, 1e-3),
        normal(8193, 4, 1e4),
        np.where(normal(8193, 5) > 0, np.float32(2), -np.inf),
    ):
        for sampling in (1, 3), (1, 2500), (1, 7000, 0.7), (1, 0, 0.5), (1, 0, 0.999), (1, 6000, 0.999, 0.9):
            lowest = logits[list(kept(logits, *sampling))].min()  # top-p keeps its equals too
            assert (logits[draw(logits, sampling, 16)] >= lowest).all()


@pytest.mark.parametrize(
    "sampling", [(1,), (2, 1), (1, 5), (1, 0, 0.5), (1, 0, 0, 0.5), (1, 3, 0.9, 0.1, 1.3)], ids=str
)
def test_one_token(sampling: tuple[float, ...]) -> None:
    assert draw(np.float32([-3]), sampling, 16) == [0] * 16


def test_all_may_be_kept() -> None:
    """Also where more are asked for than there are, or than there are numbers."""
    logits = np.zeros(20, np.float32)
    for sampling in (1,), (1, 20), (1, 21), (1, 1000), (1, 0, 1.0), (1, 19, 0.9999999):
        assert set(draw(logits, sampling, 400)) == set(range(20)), sampling
    logits[7:] = -np.inf
    for sampling in (1,), (1, 10), (1, 10, 0.999):
        assert set(draw(logits, sampling, 200)) == set(range(7)), sampling


def test_ties_are_kept_together() -> None:
    logits = np.array([2, 1, 2, 0, 1, 1, 0, -0.0, 0], np.float32)
    assert set(draw(logits, (50, 1), 200)) == {0, 2}
    assert set(draw(logits, (50, 3), 400)) == {0, 1, 2, 4, 5}
    assert set(draw(logits, (50, 6), 600)) == set(range(9))
    assert set(draw(logits, (50, 0, 0.01), 200)) == {0, 2}


@pytest.mark.parametrize("past", [(0, 1, 2), (9, 9, 9, 4)])
def test_repetition_comes_before_the_temperature(past: tuple[int, ...]) -> None:
    """So a penalty changes what top-k keeps."""
    logits = np.linspace(3, -3, 10, dtype=np.float32)
    wanted = probabilities(logits, 2, 3, penalty=4, past=past)
    drawn = {choose(logits, (2, 3, 0, 0, 4), seed, past) for seed in range(100)}
    assert drawn == set(np.flatnonzero(wanted).tolist())


@pytest.mark.parametrize(
    "vocabulary, sampling",
    [(37, (1,)), (37, (2.5,)), (300, (1, 20)), (300, (0.7, 0, 0.9)), (300, (1.5, 40, 0.8, 0.05)), (20_002, (1, 12))],
    ids=str,
)
def test_the_distribution(vocabulary: int, sampling: tuple[float, ...]) -> None:
    """Chi squared, over tokens that are expected five times or more, and all others together."""
    count = 2400
    logits = normal(vocabulary, 5, 1.5)
    expected = probabilities(logits, *sampling) * count
    observed = np.bincount(draw(logits, sampling, count, seed=1234), minlength=vocabulary)
    often = expected >= 5
    pairs = [*zip(observed[often], expected[often], strict=True), (observed[~often].sum(), expected[~often].sum())]
    chi2 = sum((o - e) ** 2 / e for o, e in pairs if e)
    freedom = len([e for _, e in pairs if e]) - 1
    assert not observed[expected == 0].any()
    assert freedom >= 5 and chi2 < freedom + 4 * (2 * freedom) ** 0.5


def test_a_long_tail_is_drawn_from() -> None:
    """A token with half of the mass, and 20,001 with a small share each: neither too often nor too seldom."""
    logits = np.zeros(20_002, np.float32)
    logits[11] = np.log(20_001)
    drawn = draw(logits, (1,), 2000)
    assert abs(drawn.count(11) - 1000) < 100
    assert max(Counter(t for t in drawn if t != 11).values()) <= 4
    assert abs(np.mean([t for t in drawn if t != 11]) - 10_000) < 600


def test_seeds() -> None:
    """The same draws again, others for another seed, and independent ones from position to position."""
    logits = normal(1000, scale=1)
    first = draw(logits, (1,), 160, seed=7)
    assert draw(logits, (1,), 160, seed=7) == first
    assert draw(logits, (1,), 160, seed=1_000_000) != first
    assert len(set(first)) > 80
    assert draw(logits, (1,), 16, seed=(1 << 31) - 1) != draw(logits, (1,), 16, seed=0)


def test_the_text_before_does_not_matter_to_the_draw() -> None:
    logits = normal(1000, scale=1)
    assert choose(logits, (1,), 5, (3, 4)) == choose(logits, (1,), 5, (8, 9))


def test_tuning_leaves_the_variant_to_the_options(tmp_path: Path) -> None:
    """Which one is faster depends on the temperature, so no measurement may replace the profile's choice."""
    folder = build(1000, tmp_path / "bundle")
    assert autotune(folder, whole_plan(folder), [], silent).measured.seconds == {}


@pytest.mark.parametrize("vocabulary", [1000, 20_002])
def test_the_shaders_pass_tint(vocabulary: int, tmp_path: Path) -> None:
    shaders = list((build(vocabulary, tmp_path / "bundle") / "kernels").rglob("*.wgsl"))
    assert len(shaders) == 5 and not any(tint.check(shaders).values())
