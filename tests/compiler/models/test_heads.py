"""Which alignment heads a Whisper has: those of its configuration, of its structure, or of half its layers."""

from __future__ import annotations

import pytest

from intaglio.compiler.models.whisper.heads import Structure, alignment_heads

TINY_EN = [(1, 0), (2, 0), (2, 5), (3, 0), (3, 1), (3, 2), (3, 3), (3, 4)]  # as whisper/__init__.py has them
TURBO = [(2, 4), (2, 11), (3, 3), (3, 6), (3, 11), (3, 14)]


@pytest.mark.parametrize(
    "configured, structure, expected",
    [
        (None, Structure(4, 6, False, 80), TINY_EN),
        (None, Structure(4, 20, True, 128), TURBO),
        ([[3, 1], [2, 2]], Structure(4, 20, True, 128), [(2, 2), (3, 1)]),
        (None, Structure(2, 2, True, 80), [(1, 0), (1, 1)]),
        ([], Structure(3, 1, True, 80), [(1, 0), (2, 0)]),
    ],
)
def test_heads(configured: list[list[int]] | None, structure: Structure, expected: list[tuple[int, int]]) -> None:
    assert alignment_heads(configured, structure) == expected


def test_a_head_that_the_model_lacks() -> None:
    with pytest.raises(ValueError, match=r"\[4, 0\].*4 layers of 6 heads"):
        alignment_heads([[4, 0]], Structure(4, 6, True, 80))
