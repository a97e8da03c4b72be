"""How many steps a submit gets, and how many submits are in flight, on adapters whose times are given."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from intaglio.runtime.limits import SLOTS
from intaglio.runtime.tasks import decode
from intaglio.runtime.tasks.decode import Decoder, Request

BUDGET = 0.08


class Adapter:
    """A session whose steps take `step` seconds one after another, and whose readbacks take `readback` seconds each.

    `now`: the clock. `sizes`: the steps of each submit. `flights`: how many were in flight, each time the host waited.
    """

    def __init__(self, step: float, readback: float) -> None:
        self.step, self.readback = step, readback
        self.now, self._free, self._flying = 0.0, 0.0, 0
        self.writes, self.sizes, self.flights = 0, list[int](), list[int]()

    def write(self, name: str, array: np.ndarray, offset: int = 0) -> None:
        self.writes += 1

    def submit(self, program: str, symbols: Mapping[str, int], read: tuple[str, int, int]) -> np.ndarray:
        self.writes += 1
        self.now += 0.5 + self.readback
        return np.array([7])

    def launch(self, program: str, runs: Sequence[Mapping[str, int]], read: tuple[str, int, int]) -> Any:
        self.writes += 1
        self.sizes.append(len(runs))
        self._flying += 1
        ready = self._free = max(self._free, self.now) + len(runs) * self.step

        def words() -> np.ndarray:
            self.flights.append(self._flying)
            self._flying -= 1
            self.now = max(self.now, ready + self.readback)
            return np.full(read[2], 7)

        return SimpleNamespace(words=words)


@pytest.fixture
def decoding(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A function that begins a text on an adapter."""

    def begin(adapter: Any, **request: Any) -> Iterator[Sequence[int]]:
        monkeypatch.setattr(decode.time, "perf_counter", lambda: adapter.now)
        return Decoder(adapter, 4096, 64, BUDGET).tokens([1, 2, 3], Request({}, **request))

    return begin


@pytest.mark.parametrize(
    "step, readback, steps",
    [
        (0.001, 0.1, SLOTS),  # a browser whose readbacks are slow
        (0.0039, 0.1, 20),  # the same with a larger model: what fits the budget
        (0.019, 0.1, 4),
        (0.2, 0.1, 1),
        (0.001, 0.0005, 8),  # the readback costs a sixteenth of the steps
        (0.012, 0.0005, 1),
        (0.001, 0.0, 1),  # nothing is gained
    ],
)
def test_a_submit_gets_as_few_steps_as_hide_its_readback(
    decoding: Any, step: float, readback: float, steps: int
) -> None:
    adapter = Adapter(step, readback)
    for _ in itertools.islice(decoding(adapter), 40):
        pass
    assert set(adapter.sizes[20:]) == {steps}
    assert all(b <= 2 * a for a, b in itertools.pairwise(adapter.sizes)), "it grows as measured"


def test_the_adapter_never_waits_for_slow_readbacks(decoding: Any) -> None:
    """Steps of two submits take longer than a readback: tokens come as fast as steps run."""
    adapter = Adapter(0.001, 0.05)
    tokens = decoding(adapter)
    for _ in itertools.islice(tokens, 40):
        pass
    begin, count = adapter.now, sum(len(some) for some in itertools.islice(tokens, 16))
    assert adapter.now - begin == pytest.approx(0.001 * count)


@pytest.mark.parametrize(
    "step, readback, tokens, most",
    [
        (0.001, 0.0001, 10, 2),  # little time is wasted
        (0.02, 0.0005, 60, 1),
        (0.02, 0.0005, 80, 2),  # the text is long enough for a step
        (0.008, 0.0014, 60, 1),
        (0.008, 0.0014, 180, 1),  # for two it is not, nor for three
        (0.008, 0.0014, 200, 2),
        (0.02, 0.1, 10, 2),  # the readback takes longer than what is wasted
        (3.0, 0.0005, 60, 1),
    ],
)
def test_a_submit_is_in_flight_ahead_where_that_is_worth_its_waste(
    decoding: Any, step: float, readback: float, tokens: int, most: int
) -> None:
    adapter = Adapter(step, readback)
    seen = 0
    for some in decoding(adapter):
        seen += len(some)
        if seen >= tokens:
            break
    assert adapter.flights[-1] == most


def test_a_slow_caller_changes_nothing_for_long(decoding: Any) -> None:
    adapter = Adapter(0.001, 0.0005)
    tokens = decoding(adapter)
    for _ in itertools.islice(tokens, 30):
        adapter.now += 0.05
    for _ in itertools.islice(tokens, 10):
        pass
    assert adapter.sizes[-1] in (8, 9)


@pytest.mark.parametrize("request_", [{"pace": 3}, {"pace": 1, "ahead": False}])
def test_what_a_request_says_holds(decoding: Any, request_: dict[str, Any]) -> None:
    adapter = Adapter(0.001, 0.1)
    for _ in itertools.islice(decoding(adapter, **request_), 30):
        pass
    assert set(adapter.sizes) == {request_["pace"]}
    assert set(adapter.flights) == {2 if request_.get("ahead", True) else 1}


@pytest.mark.parametrize("limit", [1, 2, 3, 50])
def test_no_step_runs_beyond_the_limit(decoding: Any, limit: int) -> None:
    adapter = Adapter(0.001, 0.1)
    assert sum(map(len, decoding(adapter, limit=limit))) == limit
    assert sum(adapter.sizes) == limit - 1
