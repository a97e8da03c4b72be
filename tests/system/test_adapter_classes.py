"""What runs on each class of GPUs is right: golden values and tokens, with the class forced on this adapter."""

from __future__ import annotations

from pathlib import Path

import pytest

import intaglio
from intaglio.runtime.adapter_class import VARIABLE

FIXTURES = Path(__file__).parents[1] / "fixtures"
# Each has kernels that the others lack; every class has the kernels of one of CLASSES.
NAMES = (
    "llama-q4",
    "llama-f16",
    "llama-qdq-attention",
    "gemma2-optimum",  # windows and soft caps
    "bloom-optimum",  # position biases
    "qwen3-optimum",
    "whisper-merged-18",
    "cnn-dynamo-18",
    "encoders/deberta",
)
CLASSES = ("amd", "intel", "mobile")


@pytest.fixture(scope="module", params=NAMES)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return intaglio.compile(FIXTURES / request.param, tmp_path_factory.mktemp("classes") / "bundle").folder


def tokens(bundle: intaglio.Bundle) -> list[int]:
    """As many as fill several slices of keys, after prompts of few and of many tokens."""
    if bundle.plan.kind != "language":
        return []
    room = bundle.plan.symbols["past"][1] - 40
    texts = [[7, 3, 11], [(5 * i) % 90 + 3 for i in range(min(room, 70))]]
    return [t for text in texts for t in bundle.generate(text, max_tokens=24, ignore_eos=True).tokens]


def test_every_class_is_right(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = tokens(intaglio.load(folder))
    for name in CLASSES:
        monkeypatch.setenv(VARIABLE, name)
        bundle = intaglio.load(folder)
        assert not [(name, r.program, r.output, r.error) for r in bundle.verify() if not r.passed]
        assert tokens(bundle) == expected, name
        assert bundle.engine.session().allocated == bundle.engine.plan.session_bytes
        free = bundle.report["precision"].get("caches", {}).get("on_gpus") == "f16"
        assert bundle.engine.plan.rounded == (name != "mobile" and free)
        kernels = {kernel.rpartition("_")[2] for kernel in bundle.engine.plan.used}
        assert not any(kernel.startswith(("rows", "queries", "subgroup")) for kernel in kernels), name
        stored = any("_in_buffers_" in kernel for kernel in bundle.engine.plan.used)
        assert stored == (name != "mobile" and bool(bundle.whole_plan.storages))
