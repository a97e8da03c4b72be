"""Any thread may call a bundle, and sessions of a bundle do not see each other."""

from __future__ import annotations

import itertools
import random
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import intaglio

FIXTURES = Path(__file__).parents[1] / "fixtures"
ROUNDS, THREADS = 10, 8


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return intaglio.compile(FIXTURES / "llama-optimum-18", tmp_path_factory.mktemp("llama") / "bundle").folder


@pytest.fixture(scope="module")
def whisper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return intaglio.compile(FIXTURES / "whisper-merged-18", tmp_path_factory.mktemp("whisper") / "bundle").folder


def user(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def noise(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, 40_000).astype(np.float32)


def joined(stream: Any) -> list[int]:
    return [token for piece in stream for token in piece.tokens]


def in_threads(calls: list[Callable[[], None]]) -> None:
    """Each call in a thread of its own, which must end and raise nothing."""
    errors: list[BaseException] = []
    start = threading.Barrier(len(calls))

    def run(call: Callable[[], None]) -> None:
        try:
            start.wait()
            call()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(call,), daemon=True) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads), "threads wait for each other"
    if errors:
        raise errors[0]


def test_eight_threads(llama: Path, whisper: Path) -> None:
    """On bundles that no one opened before, in the first session and in others, each gets what it gets alone."""
    alone, listener = intaglio.load(llama), intaglio.load(whisper)
    text = alone.generate([1, 2, 3], max_tokens=12, ignore_eos=True).tokens
    answer = alone.chat(user("a"), max_tokens=12, ignore_eos=True).tokens
    speech = listener.transcribe(noise(0), 16_000, require_speech=False).tokens
    logits = alone.logits([4, 5])
    for number in range(ROUNDS):
        bundle, whispers = intaglio.load(llama), intaglio.load(whisper)

        def generate(of: Any) -> None:
            assert of.generate([1, 2, 3], max_tokens=12, ignore_eos=True).tokens == text

        def chat(of: Any) -> None:
            assert joined(of.chat(user("a"), stream=True, max_tokens=12, ignore_eos=True)) == answer

        def drop(of: Any) -> None:
            next(of.chat(user("b"), stream=True, ignore_eos=True))
            assert np.abs(of.logits([4, 5]) - logits).max() < 1e-4

        def transcribe(of: Any) -> None:
            assert of.transcribe(noise(0), 16_000, require_speech=False).tokens == speech

        works = [generate, chat, drop, transcribe] * (THREADS // 4)
        random.Random(number).shuffle(works)
        calls = []
        for i, work in enumerate(works):
            of = whispers if work is transcribe else bundle
            calls.append(partial(work, of if i % 2 else of.session()))
        in_threads(calls)


def test_two_conversations_side_by_side(llama: Path) -> None:
    """Piece by piece in turn, over several messages: each as it is alone, and nothing is read twice."""
    bundle = intaglio.load(llama)
    options = {"max_tokens": 10, "ignore_eos": True, "steps_per_submit": 1}
    texts = ["a b", "c"], ["d", "a b c d"]
    expected = [[bundle.session().chat(user(t), **options).tokens for t in of] for of in texts]
    sessions = bundle.session(), bundle.session()
    for turn in range(2):
        streams = [s.chat(user(of[turn]), stream=True, **options) for s, of in zip(sessions, texts, strict=True)]
        tokens: list[list[int]] = [[], []]
        for pieces in itertools.zip_longest(*streams):
            for said, piece in zip(tokens, pieces, strict=True):
                said += piece.tokens if piece else []
        assert tokens == [of[turn] for of in expected]
    assert sessions[0].replays.engine is sessions[1].replays.engine is bundle.engine


def test_two_transcriptions_side_by_side(whisper: Path) -> None:
    """At the same time, several windows each."""
    bundle = intaglio.load(whisper)
    sounds = [noise(seed) for seed in (1, 2)]
    options = {"temperature": 0, "require_speech": False}
    expected = [bundle.transcribe(sound, 16_000, **options) for sound in sounds]
    assert expected[0].tokens != expected[1].tokens
    sessions = bundle.session(), bundle.session()
    results: dict[int, Any] = {}

    def listen(i: int) -> Callable[[], None]:
        return lambda: results.update({i: sessions[i].transcribe(sounds[i], 16_000, **options)})

    in_threads([listen(0), listen(1)])
    assert [results[0], results[1]] == expected
