"""Transcriptions by OpenAI's Python client, in every format, and what they refuse."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import openai
import pytest
import soundfile

import intaglio


def recording(format: str = "WAV", subtype: str | None = None) -> tuple[str, bytes]:
    """A file whose name says nothing. It is noise in which a detector hears speech or not; both are fine."""
    file = io.BytesIO()
    time = np.arange(24_000) / 16_000
    sound = 0.3 * np.sin(2 * np.pi * 150 * time) * np.sin(2 * np.pi * 3 * time)
    soundfile.write(file, sound, 16_000, format=format, subtype=subtype)
    return "speech", file.getvalue()


@pytest.fixture(scope="module")
def expected(bundles: dict[str, intaglio.Bundle]) -> Any:
    return bundles["speech"].session().transcribe(io.BytesIO(recording()[1]))


def test_json(client: openai.OpenAI, expected: Any) -> None:
    for model in "speech", "whisper-1":
        result = client.audio.transcriptions.create(model=model, file=recording())
        assert result.text == expected.text
        assert result.usage and result.usage.type == "duration" and result.usage.seconds == 2


def test_texts(client: openai.OpenAI, expected: Any) -> None:
    from intaglio.runtime.tasks.whisper.formats import srt, vtt

    formats: Any = {"text": expected.text + "\n", "srt": srt(expected), "vtt": vtt(expected)}
    for format, text in formats.items():
        assert client.audio.transcriptions.create(model="x", file=recording(), response_format=format) == text


def test_verbose_json(client: openai.OpenAI, expected: Any) -> None:
    result = client.audio.transcriptions.create(model="x", file=recording(), response_format="verbose_json")
    assert result.text == expected.text and result.duration == pytest.approx(1.5)
    assert [s.tokens for s in result.segments or []] == [s.tokens for s in expected.segments]


@pytest.mark.parametrize("granularities", [["word"], ["segment"], ["word", "segment"]])
def test_times(client: openai.OpenAI, granularities: Any) -> None:
    options: Any = {"response_format": "verbose_json", "timestamp_granularities": granularities}
    result = client.audio.transcriptions.create(model="x", file=recording(), **options)
    assert (result.words is not None, result.segments is not None) == (
        "word" in granularities,
        "segment" in granularities,
    )


def test_a_stream_is_the_text(client: openai.OpenAI) -> None:
    events = list(client.audio.transcriptions.create(model="x", file=recording(), stream=True))
    deltas = "".join(e.delta for e in events if e.type == "transcript.text.delta")
    assert events[-1].type == "transcript.text.done" and events[-1].text == deltas


@pytest.mark.parametrize(
    "changed, param",
    [
        ({"response_format": "pdf"}, "response_format"),
        ({"language": "Klingon"}, None),
        ({"temperature": 2}, "temperature"),
        ({"timestamp_granularities": ["segment"]}, "timestamp_granularities"),
        ({"response_format": "srt", "stream": True}, "stream"),
        ({"include": ["logprobs"]}, "include"),
        ({"chunking_strategy": {"type": "server_vad"}}, "chunking_strategy"),
        ({"file": ("a.wav", b"And so my fellow Americans")}, "file"),
        ({"file": ("a.m4a", b"\0\0\0\x18ftypM4A junk")}, "file"),
    ],
)
def test_what_is_wrong_is_refused(client: openai.OpenAI, changed: dict[str, Any], param: str | None) -> None:
    with pytest.raises(openai.BadRequestError) as error:
        client.audio.transcriptions.create(**{"model": "x", "file": recording(), **changed})
    assert error.value.param == param and "object at 0x" not in error.value.message
