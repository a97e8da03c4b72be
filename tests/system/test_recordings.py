"""Several recordings in one call, folders, channels, parts, and files of every format, from the command line."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

import intaglio
from intaglio.__main__ import main
from intaglio.commands import recordings

ROOT = Path(__file__).parents[2]
JFK = ROOT / "examples/jfk.wav"


@pytest.fixture(scope="module")
def whisper(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("recordings") / "whisper.bundle"
    intaglio.compile(ROOT / "tests/fixtures/whisper-merged-18", folder)
    return folder


@pytest.fixture
def folder(tmp_path) -> Path:
    """Two recordings of the same name, one in a folder below, and a text."""
    samples, rate = soundfile.read(JFK)
    (tmp_path / "in/below").mkdir(parents=True)
    soundfile.write(tmp_path / "in/a.wav", samples[:rate], rate)
    soundfile.write(tmp_path / "in/a.flac", samples[:rate], rate)
    soundfile.write(tmp_path / "in/below/b.ogg", samples[:rate], rate)
    (tmp_path / "in/notes.txt").write_text("not a recording")
    return tmp_path / "in"


def run(capsys, *arguments: object) -> tuple[int, str, str]:
    status = main(["run", *map(str, arguments)])
    return status, *capsys.readouterr()


def test_a_folder_goes_to_another_folder(capsys, whisper, folder, tmp_path):
    status, out, _ = run(capsys, whisper, "--audio", folder, "--output-dir", tmp_path / "out", "--format", "srt,txt")
    names = ["a.flac.srt", "a.flac.txt", "a.wav.srt", "a.wav.txt", "below/b.srt", "below/b.txt"]
    assert status == 0 and out.splitlines() == [str(tmp_path / "out" / name) for name in names]
    assert sorted(map(str, (tmp_path / "out").rglob("*.*"))) == sorted(out.splitlines())
    assert (tmp_path / "out/a.wav.txt").read_text() == (tmp_path / "out/a.flac.txt").read_text() != ""


def test_several_recordings_have_their_texts_beside_them(capsys, whisper, folder):
    status, out, _ = run(capsys, "--audio", folder / "a.wav", folder / "below/b.ogg", whisper)
    assert status == 0 and out.splitlines() == [str(folder / "a.txt"), str(folder / "below/b.txt")]


def test_a_broken_recording_does_not_stop_the_others(capsys, whisper, folder):
    status, out, error = run(capsys, whisper, "--audio", folder / "notes.txt", folder / "a.wav", "--json")
    assert status == 1 and "notes.txt is not a recording" in error
    (line,) = out.splitlines()
    assert json.loads(line)["file"] == str(folder / "a.wav")
    assert sorted(path.name for path in folder.iterdir()) == ["a.flac", "a.wav", "below", "notes.txt"]


def test_times_are_printed(capsys, whisper, folder):
    status, out, _ = run(capsys, whisper, "--audio", folder / "a.wav", "--timestamps")
    assert status == 0 and all(re.match(r"\[00:0\d\.\d{3} --> 00:0\d\.\d{3}\] ", line) for line in out.splitlines())


def test_one_format_is_printed(capsys, whisper, folder):
    status, out, _ = run(capsys, whisper, "--audio", folder / "a.wav", "--format", "vtt")
    assert status == 0 and out.startswith("WEBVTT\n\n")


def test_channels(capsys, whisper, tmp_path):
    samples, rate = soundfile.read(JFK)
    path = tmp_path / "two.wav"
    soundfile.write(path, np.stack([samples[:rate], -samples[:rate]], axis=1), rate)
    status, out, _ = run(capsys, whisper, "--audio", path, "--channel", "each", "--json")
    first, second = map(json.loads, out.splitlines())
    assert status == 0 and (first["channel"], second["channel"]) == (1, 2)
    status, out, _ = run(capsys, whisper, "--audio", path, "--channel", "2", "--json")
    assert json.loads(out)["text"] == second["text"]
    status, out, error = run(capsys, whisper, "--audio", path, "--json")
    note = json.loads(out)["notes"][0]
    assert "cancel each other out; choose one" in note and f"note: {note}" in error


def test_a_part_keeps_the_times_of_the_whole(capsys, whisper, tmp_path):
    samples, rate = soundfile.read(JFK)
    soundfile.write(tmp_path / "part.wav", samples[3 * rate : 5 * rate], rate)
    of = json.loads(run(capsys, whisper, "--audio", tmp_path / "part.wav", "--json")[1])
    part = json.loads(run(capsys, whisper, "--audio", JFK, "--offset", 3, "--duration", 2, "--json")[1])
    assert part["text"] == of["text"] != ""
    assert [s["start"] for s in part["segments"]] == pytest.approx([s["start"] + 3 for s in of["segments"]])


def test_standard_input(capsys, whisper, monkeypatch):
    expected = run(capsys, whisper, "--audio", JFK)[1]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(JFK.read_bytes())))
    assert run(capsys, whisper, "--audio", "-")[1] == expected
    with JFK.open("rb") as file:
        assert run(capsys, whisper, "--audio", f"/dev/fd/{file.fileno()}")[1] == expected


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--channel", "0"], "expected a number from 1 on, or each, got '0'"),
        (["--format", "doc"], "'doc' is not a format; expected txt, srt"),
        (["--json", "--format", "srt"], "write files with --format json"),
    ],
)
def test_refuses_arguments(capsys, whisper, arguments, message):
    with pytest.raises(SystemExit) as stopped:
        run(capsys, whisper, "--audio", JFK, *arguments)
    assert stopped.value.code == 2 and message in capsys.readouterr().err


def test_refuses(capsys, whisper, tmp_path):
    for arguments, message in {
        ("--audio", tmp_path): "contains no recordings",
        ("--audio", JFK, "--channel", "2"): "expected channel 1 to 1 of the recording, got 2",
        ("--audio", JFK, "--offset", "60"): "no samples after 60 seconds",
        ("--audio", JFK, "--max-line-count", "0"): "max_line_count of 1 or more",
    }.items():
        status, out, error = run(capsys, whisper, *arguments)
        assert (status, out) == (1, "") and message in error.splitlines()[-1]


def test_targets_are_apart(tmp_path):
    for name in "a.wav", "a.mp3":
        shutil.copy(JFK, tmp_path / name)
    found = recordings.recordings([f"{tmp_path}/a.wav", f"{tmp_path}/a.mp3", "-"], None, None)
    assert [os.fspath(r.target) for r in found] == [f"{tmp_path}/a.wav", f"{tmp_path}/a.mp3", "stdin"]


def test_segments_arrive_as_they_are_heard(whisper):
    """Two streams take turns in a session, each in the middle of its recording."""
    bundle = intaglio.load(whisper)
    samples, rate = soundfile.read(JFK, dtype="float32")
    recordings = [samples, samples[::-1].copy()]
    options = {"temperature": 0, "require_speech": False, "no_speech_threshold": None, "language": "en"}
    expected = [bundle.transcribe(each, rate, **options) for each in recordings]
    streams = [bundle.transcribe(each, rate, stream=True, **options) for each in recordings]
    heard = [[next(stream)] for stream in streams]
    heard = [[*segments, next(stream)] for segments, stream in zip(heard, streams, strict=True)]
    for stream, segments in zip(streams, heard, strict=True):
        segments += list(stream)
    assert [stream.result for stream in streams] == expected
    assert heard == [transcript.segments for transcript in expected] and min(map(len, heard)) > 2


def test_a_stream_may_be_dropped(whisper):
    bundle = intaglio.load(whisper)
    samples, rate = soundfile.read(JFK, dtype="float32")
    options = {"temperature": 0, "require_speech": False}
    stream = bundle.transcribe(samples, rate, stream=True, offset=1.0, **options)
    assert next(stream).start >= 1.0
    stream.close()
    assert list(stream) == [] and stream.result is None
    with pytest.raises(RuntimeError, match="interrupted; begin it again"):
        stream.finish()
    assert bundle.transcribe(samples, rate, **options).text
