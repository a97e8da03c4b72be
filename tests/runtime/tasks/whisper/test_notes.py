"""Notes on sound without text."""

from __future__ import annotations

import numpy as np

from intaglio.runtime.tasks.whisper.notes import on_end
from intaglio.runtime.tasks.whisper.transcript import Segment

RATE = 16_000


def noise(*levels: float) -> np.ndarray:
    """A second of each level."""
    random = np.random.default_rng(0)
    return np.concatenate([random.normal(0, 1, RATE) * level for level in levels]).astype(np.float32)


def test_sound_after_the_text() -> None:
    def end(second: float) -> list[str]:
        return on_end([Segment(0, second, "a", [1])], noise(0.1, 0.1, 0.1, 0.1, 0.1, 0.001, 0.001), RATE)

    assert not end(4.5) and not end(2.5)
    (note,) = end(1.5)
    assert "1.5 s" in note and "5.0 s" in note


def test_no_text() -> None:
    assert len(on_end([], noise(0.1), RATE)) == 1
    assert not on_end([Segment(0, 0.01, "a", [1])], noise(0.1)[:200], RATE)
