"""Timings: when what two variants compute is the same."""

from __future__ import annotations

import numpy as np
import pytest

from intaglio.runtime.instruments.autotune import agree

NAN, INF = np.nan, np.inf


@pytest.mark.parametrize(
    "found, wanted, same",
    [
        ([1.0, 2.0], [1.0, 2.0], True),
        ([1.0, 2.001], [1.0, 2.0], True),
        ([1.0, 2.1], [1.0, 2.0], False),
        ([1.0, NAN], [1.0, NAN], True),  # of the same operands, at the same place
        ([1.0, NAN], [1.0, 2.0], False),
        ([1.0, 2.0], [1.0, NAN], False),
        ([NAN, 1.0], [1.0, NAN], False),
        ([INF, 1.0], [INF, 1.0], True),
        ([-INF, 1.0], [INF, 1.0], False),
        ([3e38, 1.0], [INF, 1.0], False),
        ([NAN, NAN], [NAN, NAN], True),
        ([0.0, 0.0], [NAN, NAN], False),
    ],
)
def test_variants_agree(found: list[float], wanted: list[float], same: bool) -> None:
    assert agree(np.array(found, np.float32), np.array(wanted, np.float32)) == same
