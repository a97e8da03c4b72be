"""Live transcription of real speech by Whisper tiny.en: its end is what `transcribe` says of the whole recording."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

import intaglio
from intaglio import Bundle

Cli = Callable[..., tuple[int, str, str]]
JFK = Path(__file__).parents[2] / "examples" / "jfk.wav"


@pytest.fixture(scope="module")
def bundle(tiny_en_bundle: Path) -> Bundle:
    return intaglio.load(tiny_en_bundle)


def test_half_seconds_of_speech_end_in_the_text_of_the_whole(bundle: Bundle) -> None:
    samples, rate = soundfile.read(JFK, dtype="float32")
    *updates, last = bundle.listen(np.array_split(samples, 22), rate, interval=3)
    expected = bundle.transcribe(JFK)
    assert last.transcript is not None
    assert replace(last.transcript, notes=expected.notes) == expected
    assert (last.text, last.stable, last.tail) == (last.transcript.text, last.transcript.text, "")
    stable = [heard.stable for heard in updates]
    assert stable[-1].startswith("And so my fellow Americans")
    assert all(after.startswith(before) for before, after in zip(stable, [*stable[1:], last.stable], strict=True))


def test_the_command_listens_to_a_pipe(tiny_en_bundle: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """Speech between silences, as raw samples on standard input."""
    samples, rate = soundfile.read(JFK, dtype="int16")
    silence = np.zeros(2 * rate, np.int16)
    content = np.concatenate([silence, samples[: 4 * rate], silence]).astype("<i2").tobytes()
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(content)))
    arguments = ("--input", "-", "--format", "s16", "--vad", "--interval", 60, "--json")
    status, out, error = cli("listen", tiny_en_bundle, *arguments)
    assert status == 0 and "latency" in error
    (last,) = map(json.loads, out.splitlines())
    assert last["stable"].startswith("And so my fellow Americans") and last["seconds"] == 8
    (segment,) = last["transcript"]["segments"]
    assert 1.5 < segment["start"] < 3 and segment["end"] <= 8


@pytest.mark.parametrize(
    ("arguments", "facts"),
    [
        (("--format", "s16"), ("--format", "--input")),
        (("--input", "-", "--rate", "8000"), ("--rate", "--format")),
        (("--input", "-", "--device", "usb"), ("--device", "--input")),
        (("--input", "-", "--format", "s16", "--rate", "0"), ("--rate", "1")),
    ],
)
def test_arguments_that_do_not_belong_together(arguments: tuple[str, ...], facts: tuple[str, ...], cli: Cli) -> None:
    status, _, error = cli("listen", "any.bundle", *arguments)
    assert status == 2 and all(fact in error for fact in facts)
