"""A runtime that was written from docs/bundle-format.md alone computes what ours does."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import second_runtime
from bundles import accept
from parity import device

import intaglio
from intaglio.runtime.instruments import golden

FIXTURES = Path(__file__).parents[1] / "fixtures"
BUNDLES = {
    "whisper": ("whisper-merged-18", {}),
    "whisper for English, in 4 bits": ("whisper-split-18", {"quantize": "q4"}),
    "language model": ("llama-optimum-18", {}),
    "caches of f16": ("llama-optimum-18", {"precision": "f16"}),
    "weights of 8 bits": ("llama-optimum-18", {"quantize": "q8"}),
    "weights of 4 bits": ("qwen3-optimum", {"quantize": "q4"}),
    "images": ("cnn-dynamo-18", {}),
    "strided": ("strided.onnx", {"bind": {"N": range(9, 65)}}),
}


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, intaglio.Bundle]:
    folder = tmp_path_factory.mktemp("second")
    return {
        name: intaglio.compile(FIXTURES / fixture, folder / str(i), **options)
        for i, (name, (fixture, options)) in enumerate(BUNDLES.items())
    }


def second(bundle: intaglio.Bundle) -> second_runtime.Bundle:
    return second_runtime.Bundle(bundle.folder, device())


@pytest.mark.parametrize("name", BUNDLES)
def test_golden_values(name: str, bundles: dict[str, intaglio.Bundle]) -> None:
    results = list(second_runtime.golden(second(bundles[name])))
    assert len(results) == sum(len(c.outputs) for c in golden.read(bundles[name].folder, bundles[name].plan)) > 0
    assert all(error <= tolerance for _, _, error, tolerance in results), results


@pytest.mark.parametrize("length", [9, 12, 13, 64])
def test_sizes_that_follow_from_others(length: int, bundles: dict[str, intaglio.Bundle]) -> None:
    bundle = bundles["strided"]
    other, x = second(bundle), np.random.default_rng(length).standard_normal((1, 1, length)).astype(np.float32)
    other.write("x", x)
    y = other.read("y", other.run("main", n_N=length))
    np.testing.assert_array_equal(y, bundle.run({"x": x})["y"])


@pytest.mark.parametrize("name", ["language model", "caches of f16", "weights of 4 bits"])
@pytest.mark.parametrize("length", [1, 7, 300])
def test_text(name: str, length: int, bundles: dict[str, intaglio.Bundle]) -> None:
    prompt = np.random.default_rng(length).integers(0, 300, length).tolist()
    ours = bundles[name].generate(prompt, max_tokens=12)
    assert second_runtime.continued(second(bundles[name]), prompt, 12) == ours.tokens


@pytest.mark.parametrize("name", ["whisper", "whisper for English, in 4 bits"])
@pytest.mark.parametrize("seconds", [0.3, 0.99, 2.345])
@pytest.mark.parametrize("timed", [False, True])
def test_speech(name: str, seconds: float, timed: bool, bundles: dict[str, intaglio.Bundle]) -> None:
    """Windows are a second long."""
    bundle, random = bundles[name], np.random.default_rng(0)
    samples = random.standard_normal(round(16_000 * seconds)).astype(np.float32) / 10
    pieces = list(second_runtime.Recording(second(bundle), samples).pieces(None, timed))
    options = {"temperature": 0, "no_speech_threshold": None, "require_speech": False, "sample_len": 1000}
    ours = bundle.transcribe(samples, rate=16_000, without_timestamps=not timed, **options)
    assert [(s.start, s.end, [t for t in s.tokens if t < 300]) for s in ours.segments] == pieces != []


def test_it_conforms() -> None:
    """Sizes, grids and cuts of the conformance file."""
    data = json.loads((FIXTURES.parent / "conformance.json").read_text())
    for case in data["sizes"]:
        if case["value"] is None:
            with pytest.raises((ValueError, KeyError)):
                second_runtime.size(case["size"], case["symbols"])
        else:
            assert second_runtime.size(case["size"], case["symbols"]) == case["value"]
    for case in data["blocks"]:
        if case["words"] is None:
            with pytest.raises(ValueError):
                second_runtime.complete(case["symbols"], case["values"])
        else:
            assert [*second_runtime.complete(case["symbols"], case["values"]).values()] == case["words"]
    for case in data["grids"]:
        assert second_runtime.workgroups(case["grid"], case["symbols"]) == case["workgroups"]
    for case in data["cuts"]:
        pieces = [(piece["start"], piece["end"], piece["tokens"]) for piece in case["pieces"]]
        assert second_runtime.cut(case["tokens"], case["size"], case) == (pieces, case["advance"])


def test_changed_weights_are_noticed(bundles: dict[str, intaglio.Bundle], tmp_path: Path) -> None:
    folder = shutil.copytree(bundles["images"].folder, tmp_path / "changed")
    weights = folder / "weights-00001.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"!")
    with pytest.raises(ValueError, match="was changed"):
        second_runtime.Bundle(folder, device())
    accept(folder, weights)
    second_runtime.Bundle(folder, device())
