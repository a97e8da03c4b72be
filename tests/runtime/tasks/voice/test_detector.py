"""The shipped Silero VAD: up to date, right on the adapter, and equal to onnxruntime on the file it came from."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import soundfile

import intaglio
from intaglio.runtime.tasks.voice.detector import BUNDLE, Detector, Hearing
from intaglio.runtime.tasks.voice.speech import Parameters, Spans

ROOT = Path(__file__).parents[4]
JFK = ROOT / "examples" / "jfk.wav"
SENSE = ROOT / "tests" / "fixtures" / "audio" / "librivox_sense_0870.wav"
SECOND = 16_000


@pytest.fixture(scope="module")
def detector() -> Detector:
    return Detector()


def read(path: Path) -> np.ndarray:
    return soundfile.read(path, dtype="float32")[0]


def music() -> np.ndarray:
    """Four chords with decaying overtones, 4 s."""
    time = np.arange(SECOND) / SECOND
    roots = (220.0, 246.9, 196.0, 220.0)
    chords = [sum(np.sin(2 * np.pi * root * k * time) / k for k in (1, 1.25, 1.5, 2, 3)) for root in roots]
    return np.concatenate([0.2 * chord * np.exp(-2 * time) for chord in chords]).astype(np.float32)


def hiss() -> np.ndarray:
    return np.random.default_rng(0).normal(0, 0.05, 3 * SECOND).astype(np.float32)


RECORDINGS = {
    "speech": lambda: read(JFK),
    "more speech": lambda: read(SENSE),
    "music": music,
    "hiss": hiss,
    "silence": lambda: np.zeros(2 * SECOND, np.float32),
    "clipped": lambda: np.clip(40 * read(JFK)[: 4 * SECOND], -1, 1),
    "one sample": lambda: np.ones(1, np.float32),
}


def test_the_shipped_bundle_is_what_the_compiler_makes(silero_export: Path, tmp_path: Path) -> None:
    """If this fails after a change of the compiler, run `make voice`."""
    compiled = intaglio.compile(silero_export, tmp_path / "silero.bundle").folder
    names = {path.relative_to(folder).as_posix() for folder in (BUNDLE, compiled) for path in folder.rglob("*.*")}
    oracles = {"golden.safetensors", "report.json"}  # onnxruntime's numbers differ a little between processors
    differing = [name for name in names - oracles - {"plan.json"} if content(BUNDLE, name) != content(compiled, name)]
    assert not differing, "run `make voice`"
    assert plan(BUNDLE) == plan(compiled), "run `make voice`"


def content(folder: Path, name: str) -> bytes | None:
    return (folder / name).read_bytes() if (folder / name).is_file() else None


def plan(folder: Path) -> dict[str, object]:
    data = json.loads((folder / "plan.json").read_text())
    del data["files"]["golden.safetensors"]
    return data


def test_the_shipped_bundle_is_right_on_this_adapter_and_small() -> None:
    assert all(result.passed for result in intaglio.load(BUNDLE).verify())
    assert sum(path.stat().st_size for path in BUNDLE.rglob("*.*")) < 2_500_000


@pytest.mark.parametrize("name", RECORDINGS)
def test_probabilities_are_those_of_onnxruntime(name: str, detector: Detector, silero_export: Path) -> None:
    samples = RECORDINGS[name]()
    padded = np.concatenate([np.zeros(64), samples, np.zeros(512 - len(samples) % 512)]).astype(np.float32)
    rows = np.stack([padded[i : i + 576] for i in range(0, len(padded) - 575, 512)])
    session = onnxruntime.InferenceSession(silero_export / "model.onnx", providers=["CPUExecutionProvider"])
    zeros = np.zeros((1, 1, 128), np.float32)
    expected = np.asarray(session.run(["speech_probs"], {"input": rows, "h": zeros, "c": zeros})[0])
    np.testing.assert_allclose(detector.probabilities(samples), expected.ravel(), rtol=0, atol=1e-4)


def test_a_recording_in_parts_is_heard_as_a_whole(detector: Detector) -> None:
    samples = read(SENSE)
    hearing, other = Hearing(detector), Hearing(detector)
    sizes = np.random.default_rng(0).integers(1, 9000, 100).cumsum()
    parts = []
    for part in np.split(samples, sizes[sizes < len(samples)]):
        parts.append(hearing.add(part))
        other.add(part[::-1])  # another recording in turns
    parts.append(hearing.end())
    np.testing.assert_allclose(np.concatenate(parts), detector.probabilities(samples), rtol=0, atol=1e-6)


@pytest.mark.parametrize(("name", "count"), [("speech", 1), ("music", 0), ("hiss", 0), ("silence", 0)])
def test_speech_is_told_from_the_rest(name: str, count: int, detector: Detector) -> None:
    samples = RECORDINGS[name]()
    spans = Spans(Parameters())
    spans.add(detector.probabilities(samples))
    assert len(spans.so_far(len(samples))) == count
