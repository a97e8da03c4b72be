"""Every tiny language model, against onnxruntime on the same files: logits, and greedy tokens.

What onnxruntime would round to f16, or to 8 bits as accuracy_level allows, it computes in f32 here, as we do: that
rounding is larger than any error of ours, and changes the choice between tokens that are nearly as good.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import pytest
import readable
from language_reference import LanguageReference
from onnx.reference import ReferenceEvaluator

import intaglio
from intaglio import Bundle

FIXTURES = Path(__file__).parents[1] / "fixtures"
FOLDERS = [path.parent for path in sorted(FIXTURES.glob("*/model.onnx"))]
FLAVOURS = [folder.name for folder in FOLDERS if (folder / "tokenizer.json").exists()]  # classifiers have none
FUSED = ("genai", "optimizer")  # operators of ONNX Runtime, inside of which a file has no values
IDS = np.random.default_rng(0).integers(0, 300, 256).tolist()  # of no meaning; 300 and up are special
MOST = 48  # tokens that are compared
FEW = 3  # that may be others, where a number that was rounded the other way decides between two
DYNAMIC = {"llama-int8", "llama-uint8-channels"}
STATIC = {name for name in FLAVOURS if "-qdq" in name and not name.endswith("int4")}


@dataclass(frozen=True)
class Pair:
    reference: LanguageReference
    bundle: Bundle

    @property
    def dynamic(self) -> bool:
        """Whether numbers are rounded in the range that they have in a run, which its other tokens are part of."""
        return self.bundle.folder.name in DYNAMIC

    @property
    def rounded(self) -> bool:
        """Whether numbers are rounded to 256 steps: one on the border may go either way."""
        return self.bundle.folder.name in DYNAMIC | STATIC


@pytest.fixture(scope="module", params=FLAVOURS)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    folder = FIXTURES / request.param
    bundle = intaglio.compile(folder, tmp_path_factory.mktemp("bundles") / request.param)
    return Pair(LanguageReference(folder, exact=True), bundle)


def test_nothing_is_left_of_a_template(pair: Pair) -> None:
    assert not readable.residue([pair.bundle.folder])


def test_logits_agree(pair: Pair) -> None:
    ids = IDS[:40]
    expected = pair.reference.logits_by_token(ids) if pair.dynamic else pair.reference.logits(ids)
    np.testing.assert_allclose(pair.bundle.logits(ids), expected, rtol=0, atol=2e-3)


@pytest.mark.parametrize("chunks, more", [(0, 1), (0, 5), (1, -1), (1, 0), (1, 1)])
def test_greedy_tokens_agree(pair: Pair, chunks: int, more: int) -> None:
    """Prompts as long as so many of prefill's chunks, and some tokens more."""
    chunk = json.loads((pair.bundle.folder / "generation.json").read_text())["chunk"]
    prompt = IDS[: chunks * chunk + more]
    bundle = intaglio.load(pair.bundle.folder) if pair.dynamic else pair.bundle  # which keeps a prompt that it has read
    ours = bundle.generate(prompt, max_tokens=MOST, ignore_eos=True).tokens
    theirs = pair.reference.choices(prompt, ours, chunk)
    differ = sum(a != b for a, b in zip(ours, theirs, strict=True))
    assert differ <= (FEW if pair.rounded else 0), (ours, theirs)


def test_every_step_agrees_with_the_file(pair: Pair) -> None:
    """onnxruntime's values between the nodes of what the exporter wrote, at every step of both programs."""
    folder = FIXTURES / pair.bundle.folder.name
    steps = list(pair.bundle.verify_steps(reference=folder))
    assert not [(s.worst.program, s.step) for s in steps if s.verdict == "wrong"]
    graph, compared = pair.bundle.graph, {(s.worst.program, s.step) for s in steps}
    inside = (
        {"Elementwise", "Linear", "RMSNormalization", "Rotary"} if any(kind in folder.name for kind in FUSED) else set()
    )
    inside |= {"FakeQuantize"}  # files have it in integers
    for program, work in graph.work.items():
        if program == "step" and pair.dynamic:  # the file would round what it reads together with all before
            continue
        last = {w.operation: i for i, w in enumerate(work)}.values()  # of the steps that an operation takes
        missing = [graph.operation(program, i).op for i in last if (program, i) not in compared]
        assert [op for op in missing if op not in inside] == ["SampleToken"]  # no value of the model


def test_bf16_throughout_agrees_with_the_reference_implementation(tmp_path: Path) -> None:
    """onnxruntime's CPU has no bf16. What is rounded to 8 bits at every node differs in some of the last."""
    folder, ids = FIXTURES / "llama-dynamo-bf16", IDS[:12]
    model = onnx.load(folder / "model.onnx")
    feeds = {"input_ids": np.array([ids]), "attention_mask": np.ones((1, len(ids)), np.int64)}
    for given in model.graph.input[2:]:
        heads, head_dim = (given.type.tensor_type.shape.dim[i].dim_value for i in (1, 3))
        feeds[given.name] = np.zeros((1, heads, 0, head_dim), ml_dtypes.bfloat16)
    expected = ReferenceEvaluator(model).run(["logits"], feeds)[0][0].astype(np.float32)
    ours = intaglio.compile(folder, tmp_path / "bundle").logits(ids)
    np.testing.assert_allclose(ours, expected, rtol=0, atol=2.0**-5 * np.abs(expected).max())
    assert (ours.argmax(axis=1) == expected.argmax(axis=1)).all()
