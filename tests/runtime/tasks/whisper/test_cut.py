"""The division of a window at its timestamps. The expected pieces are those of OpenAI's whisper 20250625."""

from __future__ import annotations

import pytest
from whisper_script import SETTINGS, at

from intaglio.runtime.tasks.whisper.cut import Piece, cut
from intaglio.runtime.tasks.whisper.settings import Settings

A, B, C = 65, 66, 67
CUTS = {
    "nothing": ([], 100, [(0, 100, [])], 100),
    "no timestamps": ([A], 70, [(0, 70, [A])], 70),
    "a start": ([at(0), A], 70, [(0, 70, [at(0), A])], 70),
    "a late start": ([at(0.2), A], 70, [(0, 20, [at(0.2), A])], 70),
    "start and end": ([at(0.2), A, at(0.5)], 70, [(0, 50, [at(0.2), A, at(0.5)])], 70),
    "a pair, then more": ([at(0), A, at(0.4), at(0.5), B], 100, [(0, 40, [at(0), A, at(0.4)])], 40),
    "a pair at the end": ([at(0), A, at(0.4), at(0.4)], 100, [(0, 40, [at(0), A, at(0.4)])], 40),
    "a pair, then one at the end": (
        [at(0), A, at(0.4), at(0.5), B, at(0.9)],
        100,
        [(0, 40, [at(0), A, at(0.4)]), (50, 90, [at(0.5), B, at(0.9)])],
        100,
    ),
    "two pairs": (
        [at(0.1), A, at(0.4), at(0.5), B, at(0.9), at(0.9), C],
        100,
        [(10, 40, [at(0.1), A, at(0.4)]), (50, 90, [at(0.5), B, at(0.9)])],
        90,
    ),
    "a pair at zero still moves on": ([at(0), at(0), A], 100, [(0, 0, [at(0)])], 100),
}


@pytest.mark.parametrize("case", CUTS)
def test_cut(case):
    tokens, size, pieces, advance = CUTS[case]
    assert cut(tokens, size, Settings.parse(SETTINGS)) == ([Piece(*piece) for piece in pieces], advance)
