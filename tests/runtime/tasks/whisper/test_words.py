"""Words in segments. The expected times are those of add_word_timestamps of OpenAI's whisper 20250625."""

from __future__ import annotations

import pytest

from intaglio.runtime.tasks.whisper.options import Options
from intaglio.runtime.tasks.whisper.transcript import Segment
from intaglio.runtime.tasks.whisper.words import Punctuation, Timing, Window, with_words

MARKS = Punctuation(Options().prepend_punctuations, Options().append_punctuations)
END = 1000  # tokens from here on are no text
SPOKEN = [
    Timing(" Well", 1, 0.0, 3.0, 0.9),
    Timing(",", 1, 3.0, 3.0, 0.9),
    Timing(" it", 1, 3.0, 5.2, 0.8),
    Timing(' "', 1, 5.2, 5.3, 0.5),
    Timing("works", 2, 5.3, 5.7, 0.9),
    Timing(".", 1, 5.7, 8.0, 0.9),
    Timing(" He", 1, 8.0, 9.9, 0.9),
    Timing(" said", 1, 9.9, 10.1, 0.9),
    Timing("!", 1, 10.1, 10.2, 0.9),
    Timing(" So", 1, 10.2, 10.5, 0.7),
]
LONG = [
    Timing(" a", 1, 0.0, 1.2, 0.9),
    Timing(" b", 1, 1.2, 1.4, 0.9),
    Timing(" c", 1, 1.4, 1.6, 0.9),
    Timing(" d", 1, 1.6, 3.4, 0.9),
]


def segment(start: float, end: float, tokens: int) -> Segment:
    return Segment(start, end, "", [END + 5, *range(tokens), END + 9])


def shown(segments: list[Segment]) -> list[tuple]:
    return [
        (round(s.start, 3), round(s.end, 3), [(round(w.start, 3), round(w.end, 3), w.word) for w in s.words or []])
        for s in segments
    ]


@pytest.mark.parametrize(
    "timings, segments, last, offset, expected",
    [
        pytest.param(
            SPOKEN,
            [segment(2.4, 5.0, 3), segment(5.0, 7.0, 4), segment(8.0, 10.6, 4)],
            0.0,
            0.0,
            [
                (3.6, 5.2, [(3.6, 4.4, " Well,"), (4.4, 5.2, " it")]),
                (5.3, 5.7, [(5.3, 5.7, ' "works.')]),
                (9.1, 10.5, [(9.1, 9.9, " He"), (9.9, 10.1, " said!"), (10.2, 10.5, " So")]),
            ],
            id="punctuation, and long words after a pause and a sentence",
        ),
        pytest.param(
            SPOKEN[2:],
            [segment(0.0, 6.0, 5), segment(9.5, 10.2, 4)],
            -10.0,
            0.0,
            [
                (4.5, 5.7, [(4.5, 5.2, " it"), (5.3, 5.7, ' "works.')]),
                (9.2, 10.5, [(9.2, 9.9, " He"), (9.9, 10.1, " said!"), (10.2, 10.5, " So")]),
            ],
            id="speech before the window",
        ),
        pytest.param(
            LONG,
            [segment(0.8, 2.0, 4)],
            0.0,
            0.0,
            [(0.8, 2.0, [(0.5, 1.2, " a"), (1.2, 1.4, " b"), (1.4, 1.6, " c"), (1.6, 2.3, " d")])],
            id="the model's own times against much longer words",
        ),
    ],
)
def test_words_are_those_of_openai(timings, segments, last, offset, expected) -> None:
    assert shown(with_words(segments, timings, Window(offset, 60.0, last, END, MARKS))) == expected


def test_times_stay_in_the_recording_and_in_order() -> None:
    window = Window(10.0, 11.5, 10.0, END, MARKS)
    results = with_words([segment(10.0, 13.0, 2), segment(10.0, 13.0, 2)], LONG, window)
    times = [time for s in results for word in s.words or [] for time in (word.start, word.end)]
    assert times == sorted(times) and times[0] >= 10.0 and times[-1] == 11.5
    assert 10.0 <= results[0].start <= results[0].end <= results[1].start <= results[1].end == 11.5


def test_a_segment_without_text_has_no_words() -> None:
    empty, full = with_words([segment(0.0, 0.0, 0), segment(0.0, 2.0, 4)], LONG, Window(0.0, 60.0, 0.0, END, MARKS))
    assert empty.words == [] and [word.word for word in full.words or []] == [" a", " b", " c", " d"]
