"""A call ends before its next submit when its caller says so, and leaves the session as good as new."""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import intaglio

FIXTURES = Path(__file__).parents[1] / "fixtures"
OPTIONS = {"max_tokens": 12, "ignore_eos": True, "steps_per_submit": 1}


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> intaglio.Bundle:
    return intaglio.compile(FIXTURES / "llama-optimum-18", tmp_path_factory.mktemp("llama") / "bundle")


@pytest.fixture(scope="module")
def whisper(tmp_path_factory: pytest.TempPathFactory) -> intaglio.Bundle:
    return intaglio.compile(FIXTURES / "whisper-merged-18", tmp_path_factory.mktemp("whisper") / "bundle")


def after(count: int) -> tuple[Callable[[], bool], list[int]]:
    """A callable that says so at its `count`-th call and later, and the list of its calls."""
    calls: list[int] = []
    return lambda: calls.append(0) or len(calls) >= count, calls


@pytest.mark.parametrize("count", range(1, 16, 2))
def test_a_cancelled_text(llama: intaglio.Bundle, count: int) -> None:
    """At the prompt's first submit, in the prompt, and between steps."""
    prompt = [*range(1, 9)] * 4
    expected = llama.session().generate(prompt, **OPTIONS).tokens
    session = llama.session()
    cancel, calls = after(count)
    with pytest.raises(intaglio.Cancelled):
        session.generate(prompt, cancel=cancel, **(OPTIONS | {"max_tokens": 40}))
    assert len(calls) == count
    assert session.generate(prompt, **OPTIONS).tokens == expected


def test_a_cancelled_stream_gives_what_came_before(llama: intaglio.Bundle) -> None:
    expected = llama.chat([{"role": "user", "content": "a"}], **OPTIONS).tokens
    cancel, _ = after(6)
    tokens = []
    with pytest.raises(intaglio.Cancelled):
        for piece in llama.chat([{"role": "user", "content": "a"}], stream=True, cancel=cancel, **OPTIONS):
            tokens += piece.tokens
    assert tokens and tokens == expected[: len(tokens)] and len(tokens) < len(expected)


@pytest.mark.filterwarnings("ignore:the text of the window")
@pytest.mark.parametrize("count", [1, 3, 8])
def test_a_cancelled_transcription(whisper: intaglio.Bundle, count: int) -> None:
    sound = np.random.default_rng(0).normal(0, 0.1, 40_000).astype(np.float32)
    expected = whisper.session().transcribe(sound, 16_000, require_speech=False).tokens
    session = whisper.session()
    cancel, calls = after(count)
    with pytest.raises(intaglio.Cancelled):
        session.transcribe(sound, 16_000, require_speech=False, cancel=cancel)
    assert len(calls) == count
    assert session.transcribe(sound, 16_000, require_speech=False).tokens == expected


@pytest.mark.parametrize("how", ["dropped", "closed", "never read"])
def test_a_stream_that_is_not_read_to_its_end(llama: intaglio.Bundle, how: str) -> None:
    expected = llama.session().generate([1, 2, 3], **OPTIONS).tokens
    session = llama.session()
    stream = session.generate([5, 6, 7], stream=True, **OPTIONS)
    if how != "never read":
        next(stream)
    if how == "closed":
        stream.close()
        assert not list(stream)
    del stream
    gc.collect()
    assert session.generate([1, 2, 3], **OPTIONS).tokens == expected
