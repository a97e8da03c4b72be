"""Pooling, by the definitions of sentence-transformers; its settings come from strangers."""

from __future__ import annotations

import numpy as np
import pytest

from intaglio.runtime.contract import POOLINGS
from intaglio.runtime.errors import BadBundle
from intaglio.runtime.tasks.embed import Settings, pool

ROWS = np.array([[1, 8], [2, 0], [3, 4], [6, -4]], np.float32)
SETTINGS = {
    "length": 8,
    "side": "right",
    "vocabulary": 3,
    "masks": [],
    "output": "y",
    "pooling": ["mean"],
    "normalize": True,
}


def test_every_way_of_pooling() -> None:
    expected = {
        "cls": [1, 8],
        "max": [6, 8],
        "mean": [3, 2],
        "mean_sqrt_len_tokens": [6, 4],
        "weightedmean": [3.8, 0.4],
        "lasttoken": [6, -4],
    }
    assert expected.keys() == {*POOLINGS}
    for mode, row in expected.items():
        np.testing.assert_allclose(pool(ROWS, [mode]), row, rtol=1e-6)
    np.testing.assert_allclose(pool(ROWS, ["mean", "cls"]), [3, 2, 1, 8])


def test_settings_of_strangers() -> None:
    assert Settings.parse(SETTINGS).pooling == ("mean",)
    for change in ({"length": 0}, {"pooling": ["median"]}, {"scores": "cubic"}, {"labels": [1]}, {"vocabulary": "3"}):
        with pytest.raises(BadBundle, match=r"generation\.json is broken"):
            Settings.parse(SETTINGS | change)
