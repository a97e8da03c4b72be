"""A BERT that ONNX Runtime's optimizer fused, as any other model: against onnxruntime on the same file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

import intaglio
from intaglio import Bundle

FILE = Path(__file__).parents[1] / "fixtures" / "bert-optimizer" / "bert.onnx"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return intaglio.compile(FILE, tmp_path_factory.mktemp("bundles") / "bert", bind={"batch": 1})


def test_it_is_made_of_operators_of_onnxruntime() -> None:
    fused = {node.op_type for node in onnx.load(FILE).graph.node if node.domain == "com.microsoft"}
    assert fused == {"Attention", "BiasGelu", "EmbedLayerNormalization", "SkipLayerNormalization"}


def test_attention_is_whole(bundle: Bundle) -> None:
    steps = range(len(bundle.plan.programs["main"].steps))
    made = {bundle.graph.operation("main", i).op for i in steps}
    assert "Attention" in made and not made & {"MatMul", "Softmax"}


@pytest.mark.parametrize("tokens, padding", [(1, 0), (7, 0), (40, 0), (40, 9)])
def test_outputs_agree(bundle: Bundle, tokens: int, padding: int) -> None:
    random = np.random.default_rng(tokens)
    mask = np.ones((1, tokens), np.int64)
    mask[:, tokens - padding :] = 0
    kinds = random.integers(0, 2, (1, tokens))
    inputs = {"input_ids": random.integers(0, 200, (1, tokens)), "attention_mask": mask, "token_type_ids": kinds}
    session = onnxruntime.InferenceSession(FILE, providers=["CPUExecutionProvider"])
    (expected,) = session.run(["last_hidden_state"], inputs)
    np.testing.assert_allclose(bundle.run(inputs)["last_hidden_state"], expected, rtol=0, atol=2e-3)
