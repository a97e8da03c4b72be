"""Real weights, real speech: Whisper tiny.en gives the text and the tokens that onnxruntime gives."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from reference import Reference, samples

import intaglio
from benchmarks.recordings import RATE, RECORDINGS
from benchmarks.word_errors import stored
from intaglio import Bundle

HERE = Path(__file__).parents[1]
JFK = HERE.parent / "examples" / "jfk.wav"
TEXTS = {
    JFK: "And so my fellow Americans ask not what your country can do for you, ask what you can do for your country.",
    HERE
    / "fixtures"
    / "audio"
    / "librivox_sense_0870.wav": "and mister john dashwood had then leisure to consider how much "
    "there might be prudently in his power to do for them",
    HERE
    / "fixtures"
    / "audio"
    / "librivox_sense_0890.wav": "unless to be rather cold hearted and rather selfish is to be ill disposed",
}


AS_OPENAI = {"require_speech": False, "condition_on_previous_text": True}
CARRIED = {"initial_prompt": "the dashwoods, by jane austen", "carry_initial_prompt": True}


@pytest.fixture(scope="module")
def bundle(tiny_en_bundle: Path) -> Bundle:
    return intaglio.load(tiny_en_bundle)


@pytest.fixture(scope="module")
def reference(tiny_en_export: Path) -> Reference:
    return Reference(tiny_en_export)


def letters(text: str) -> str:
    """What is heard of a text, however it is punctuated and compounded."""
    return re.sub(r"[^a-z]", "", text.lower().replace("mr.", "mister"))


@pytest.mark.parametrize("recording", TEXTS, ids=lambda r: r.stem)
@pytest.mark.parametrize("timed", [False, True], ids=["text", "times"])
def test_text_and_tokens_are_those_of_onnxruntime(
    bundle: Bundle, reference: Reference, recording: Path, timed: bool
) -> None:
    """After the recording the features are zeros, as in OpenAI's transcribe()."""
    features = reference.features(samples(recording))
    features[..., len(samples(recording)) // 160 :] = 0
    hidden = reference.encode(features)
    expected = reference.greedy(hidden, reference.prompt(timed=timed), timed, 100)
    transcript = bundle.transcribe(recording, temperature=0, without_timestamps=not timed)
    assert transcript.tokens == [t for t in expected if t < reference.generation["eos_token_id"]]
    assert letters(transcript.text) == letters(TEXTS[recording])


def test_the_demo_says_what_was_said(bundle: Bundle) -> None:
    assert letters(bundle.transcribe(JFK).text) == letters(TEXTS[JFK])


@pytest.mark.parametrize(
    "name, setting, options",
    [
        ("librivox-0890", "openai", {}),
        ("hiss-faint-8", "openai", {}),
        ("pauses-2", "openai-clips", {"temperature": 0, "clip_timestamps": [3.0, 14.0, 20.0]}),
        (
            "pauses-2",
            "openai-prompt",
            {"temperature": 0, "initial_prompt": "A novel of the Dashwoods, by Jane Austen."},
        ),
    ],
)
def test_text_segments_and_scores_are_those_of_openai(
    bundle: Bundle, name: str, setting: str, options: dict[str, Any]
) -> None:
    """Stored results of openai-whisper. Times are cut at the end of the recording here."""
    theirs = stored("tiny.en")[name][setting]
    ours = bundle.transcribe(RECORDINGS[name]().samples, RATE, **AS_OPENAI, **options)
    assert (ours.text, ours.language) == (theirs["text"].strip(), theirs["language"])
    for a, b in zip(ours.segments, [s for s in theirs["segments"] if s["text"].strip()], strict=True):
        assert (a.text, a.tokens, a.temperature) == (b["text"].strip(), b["tokens"], b["temperature"])
        assert (a.start, a.end) == pytest.approx((b["start"], min(b["end"], ours.duration)), abs=0.02)
        assert a.avg_logprob == pytest.approx(b["avg_logprob"], abs=1e-3)
        assert a.no_speech_prob == pytest.approx(b["no_speech_prob"], abs=1e-3)
        assert a.compression_ratio == pytest.approx(b["compression_ratio"], abs=1e-3)


def test_the_encoder_is_within_a_thousandth(bundle: Bundle, reference: Reference) -> None:
    features = reference.features(samples(JFK))
    ours = bundle.run({"input_features": features}, "encode")["last_hidden_state"]
    np.testing.assert_allclose(ours, reference.encode(features), rtol=0, atol=1e-3)


@pytest.mark.parametrize("recording", TEXTS, ids=lambda r: r.stem)
def test_the_spectrogram_is_within_a_ten_thousandth(bundle: Bundle, reference: Reference, recording: Path) -> None:
    audio = samples(recording)
    padded = np.pad(audio, (0, reference.window - len(audio)))
    audible = np.pad(padded, 200, mode="reflect")[None, None]
    ours = bundle.run({"audio": audible, "loudest": np.full((1, 1, 1), -10.0)}, "mel")["input_features"]
    np.testing.assert_allclose(ours, reference.features(audio), rtol=0, atol=1e-4)


def test_a_layer_takes_at_most_seven_and_eight_dispatches(bundle: Bundle) -> None:
    report = json.loads((bundle.folder / "report.json").read_text())
    layers = 4
    assert report["dispatches"]["encode"] <= 7 * layers + 7  # two convolutions, a norm, cross keys and values
    assert report["dispatches_per_token"] <= 8 * layers + 4  # embedding, head, and two for the token
