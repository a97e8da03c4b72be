"""The text before a window, as whisper/transcribe.py makes its prompts."""

from __future__ import annotations

import pytest

from intaglio.runtime.tasks.whisper.history import History


def reference(initial: list[int], carried: bool, limit: int, windows: list[tuple[list[int], bool]]) -> list[int]:
    """The lines of whisper/transcribe.py and decoding.py."""
    said, reset = list(initial), 0
    for tokens, continued in windows:
        said += tokens
        if not continued:
            reset = len(said)
    if carried:
        remaining = said[max(len(initial), reset) :][-(limit - len(initial)) :]
        return (initial + remaining)[-limit:]
    return said[reset:][-limit:]


@pytest.mark.parametrize("carried", [False, True])
@pytest.mark.parametrize("initial", [[], [100, 101, 102]])
@pytest.mark.parametrize("limit", [5, 50])
def test_prompts(initial: list[int], carried: bool, limit: int) -> None:
    windows = [([1, 2], True), ([3], True), ([4, 5, 6], False), ([7], True), ([8, 9], True)]
    history = History(tuple(initial), carried, (), limit)
    for i, (tokens, continued) in enumerate(windows):
        assert history.tokens == reference(initial, carried, limit, windows[:i])
        history = history.after(tokens, continued)
    assert history.tokens == reference(initial, carried, limit, windows)


def test_hotwords_come_first_and_stay() -> None:
    history = History((1,), False, (8, 9), 4)
    assert history.tokens == [8, 9, 1]
    assert history.after([2, 3, 4], True).tokens == [8, 9, 3, 4]
    assert history.after([2], False).tokens == [8, 9]
