"""Spans of speech and their times, against stored results of faster-whisper's functions on the same probabilities."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from intaglio.runtime.tasks.voice.speech import Excerpt, Parameters, Span, Spans

STORED = Path(__file__).parents[3] / "fixtures" / "voice" / "faster_whisper.json"
CASES = json.loads(STORED.read_text())["cases"]


def found(case: dict[str, Any]) -> list[Span]:
    spans = Spans(Parameters.of(case["options"]))
    spans.add(np.array(case["probabilities"]) / 100)
    return spans.so_far(case["length"])


@pytest.mark.parametrize("case", CASES, ids=map(str, range(len(CASES))))
def test_spans_and_times_are_those_of_faster_whisper(case: dict[str, Any]) -> None:
    spans = found(case)
    assert [[span.start, span.end] for span in spans] == case["spans"]
    excerpt = Excerpt(spans)
    for time, start, end, beside in case["times"]:
        assert excerpt.original(time) == start
        assert excerpt.original(time, end=True) == end
        assert excerpt.original(time, beside=time / 2) == beside


def test_the_stored_cases_divide_and_join_and_drop() -> None:
    """Otherwise the test above would say little."""
    counts = [len(case["spans"]) for case in CASES]
    assert counts.count(0) > 2 and max(counts) > 10 and sum(len(case["times"]) for case in CASES) > 100


def test_samples_are_those_of_the_spans() -> None:
    recording = np.arange(100, dtype=np.float32)
    excerpt = Excerpt([Span(3, 5), Span(90, 100)])
    np.testing.assert_array_equal(excerpt.samples(recording), [3, 4, *range(90, 100)])
    assert excerpt.seconds == 12 / 16_000
    assert Excerpt([]).samples(recording).shape == (0,) and Excerpt([]).seconds == 0


@pytest.mark.parametrize(
    ("values", "facts"),
    [
        ({"treshold": 0.5}, ("'treshold'", "threshold", "speech_pad_ms")),
        ({"threshold": 1.5}, ("threshold", "1.5")),
        ({"threshold": 0.3, "neg_threshold": 0.4}, ("neg_threshold", "0.4", "0.3")),
        ({"speech_pad_ms": -1}, ("speech_pad_ms", "-1")),
        ({"min_silence_duration_ms": "long"}, ("min_silence_duration_ms", "'long'")),
        ({"max_speech_duration_s": 0.5}, ("max_speech_duration_s", "0.5", "400")),
    ],
)
def test_wrong_parameters_are_named(values: dict[str, Any], facts: tuple[str, ...]) -> None:
    with pytest.raises(ValueError) as refused:
        Parameters.of(values)
    assert all(fact in str(refused.value) for fact in facts)
