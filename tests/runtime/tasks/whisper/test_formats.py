"""Transcripts are written as openai-whisper writes them; what it wrote is in tests/fixtures/subtitles."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from intaglio.runtime.tasks.whisper.formats import FORMATS, Lines, srt, vtt
from intaglio.runtime.tasks.whisper.transcript import Segment, Transcript, Word

CASES = json.loads((Path(__file__).parents[3] / "fixtures/subtitles/openai.json").read_text())


def transcript(segments: list[dict[str, Any]]) -> Transcript:
    made = []
    for segment in segments:
        words = segment.get("words") and [Word(**word) for word in segment["words"]]
        made.append(Segment(segment["start"], segment["end"], segment["text"], [], words=words))
    return Transcript("".join(s.text for s in made).strip(), made, "en", [])


@pytest.mark.parametrize("case", CASES, ids=lambda case: " ".join(case["lines"]) or "segments")
@pytest.mark.parametrize("format", ["txt", "srt", "vtt", "tsv"])
def test_as_openai_writes(case, format):
    expected = case["written"][format]
    assert FORMATS[format](transcript(case["segments"]), Lines(**case["lines"])) == expected


def test_json_has_all():
    written = FORMATS["json"](transcript(CASES[1]["segments"]))
    assert written.count("\n") == 1
    first = json.loads(written)["segments"][0]
    assert first["words"][0] == CASES[1]["segments"][0]["words"][0] and first["end"] == 4.2


def test_verbose_json_is_what_openai_calls_so():
    whole = replace(transcript(CASES[1]["segments"]), language_name="English", duration=3_605.0)
    written = json.loads(FORMATS["verbose_json"](whole))
    assert (written["task"], written["language"], written["duration"]) == ("transcribe", "english", 3_605.0)
    assert written["words"][0] == {"word": "And", "start": 0.04, "end": CASES[1]["segments"][0]["words"][0]["end"]}
    assert written["segments"][0].keys() == {
        *("id", "seek", "start", "end", "text", "tokens", "temperature"),
        *("avg_logprob", "compression_ratio", "no_speech_prob"),
    }


def test_what_means_something_else_in_subtitles_is_escaped():
    text = transcript([{"start": 0.0, "end": 1.0, "text": " AT&T <i> --> B"}])
    assert "AT&amp;T &lt;i> -> B" in vtt(text) and "AT&T <i> -> B" in srt(text)


def test_lines_need_words():
    with pytest.raises(ValueError, match="word_timestamps=True"):
        srt(transcript(CASES[0]["segments"]), Lines(max_line_width=20))
    for wrong in {"max_line_width": 0}, {"max_line_count": -1}, {"max_words_per_line": 1.5}:
        with pytest.raises(ValueError, match=f"{next(iter(wrong))} of 1 or more"):
            Lines(**wrong)


def test_nothing_was_said():
    empty = transcript([])
    assert {name: write(empty) for name, write in FORMATS.items() if "json" not in name} == {
        "txt": "",
        "srt": "",
        "vtt": "WEBVTT\n\n",
        "tsv": "start\tend\ttext\n",
    }
