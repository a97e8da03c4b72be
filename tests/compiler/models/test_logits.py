"""Logits by name and width, never by position; and those of all tokens where an export computes the last token's."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import intaglio
from intaglio.compiler.ir.errors import BadModel

LLAMA = Path(__file__).parents[2] / "fixtures" / "llama-optimum-18"
PROMPT = [5, 9, 300, 17, 42]


def edited(folder: Path, change) -> Path:
    """A copy of the fixture whose model `change` has edited."""
    shutil.copytree(LLAMA, folder)
    model = onnx.load(folder / "model.onnx")
    change(model.graph)
    onnx.save(model, folder / "model.onnx")
    return folder


def head(graph: onnx.GraphProto) -> onnx.NodeProto:
    return next(n for n in graph.node if n.output[0] == "logits")


def hidden_first(graph: onnx.GraphProto, name: str = "hidden_states") -> None:
    """The rows before the head come out too, before the logits."""
    rows = head(graph).input[0]
    graph.node.append(helper.make_node("Identity", [rows], [name]))
    graph.output.insert(
        0, helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch_size", "sequence_length", 64])
    )


def without_names(graph: onnx.GraphProto) -> None:
    """Two outputs, neither of which has a name that says what it is."""
    hidden_first(graph, "output_0")
    head(graph).output[0] = "output_1"
    graph.output[1].name = "output_1"


def gathered(graph: onnx.GraphProto) -> None:
    """As GenAI's builder does with prune_lm_head: Gather and Unsqueeze before the head."""
    node = head(graph)
    graph.initializer.append(numpy_helper.from_array(np.array(-1), "last"))
    graph.initializer.append(numpy_helper.from_array(np.array([1]), "axis"))
    picked = [
        helper.make_node("Gather", [node.input[0], "last"], ["picked"], axis=1),
        helper.make_node("Unsqueeze", ["picked", "axis"], ["row"]),
    ]
    insert(graph, node, picked)


def sliced(graph: onnx.GraphProto) -> None:
    """As transformers does with logits_to_keep=1: hidden[:, -1:, :]."""
    node = head(graph)
    for name, value in (("start", -1), ("end", np.iinfo(np.int64).max), ("axis", 1)):
        graph.initializer.append(numpy_helper.from_array(np.array([value]), name))
    insert(graph, node, [helper.make_node("Slice", [node.input[0], "start", "end", "axis"], ["row"])])


def insert(graph: onnx.GraphProto, node: onnx.NodeProto, before: list[onnx.NodeProto]) -> None:
    at = list(graph.node).index(node)
    node.input[0] = "row"
    for i, new in enumerate(before):
        graph.node.insert(at + i, new)
    logits = next(o for o in graph.output if o.name == "logits")
    logits.type.tensor_type.shape.dim[1].Clear()
    logits.type.tensor_type.shape.dim[1].dim_value = 1


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    """Logits of the export as it is, which other tests hold against onnxruntime."""
    return intaglio.compile(LLAMA, tmp_path_factory.mktemp("logits") / "whole").logits(PROMPT)


@pytest.mark.parametrize("change", [hidden_first, without_names, gathered, sliced])
def test_the_logits_are_found_wherever_they_are(tmp_path: Path, whole: np.ndarray, change) -> None:
    model = edited(tmp_path / "model", change)
    bundle = intaglio.compile(model, tmp_path / "bundle")
    np.testing.assert_allclose(bundle.logits(PROMPT), whole, atol=1e-4)
    assert all(result.passed for result in bundle.verify())
    assert not [step for step in bundle.verify_steps(reference=model) if step.verdict == "wrong"]


def test_a_model_without_its_head_is_refused(tmp_path: Path) -> None:
    def headless(graph: onnx.GraphProto) -> None:
        hidden_first(graph)
        del graph.output[1]

    with pytest.raises(
        BadModel, match=r"no logits .* of width 303; its outputs of rank 3: hidden_states .*exclude_lm_head"
    ):
        intaglio.compile(edited(tmp_path / "model", headless), tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


def test_one_row_that_no_gather_picks_is_refused(tmp_path: Path) -> None:
    def mean(graph: onnx.GraphProto) -> None:
        graph.initializer.append(numpy_helper.from_array(np.array([1]), "axis"))
        insert(
            graph, head(graph), [helper.make_node("ReduceMean", [head(graph).input[0], "axis"], ["row"], keepdims=1)]
        )

    with pytest.raises(BadModel, match=r"logits has the logits of one token.*prune_lm_head"):
        intaglio.compile(edited(tmp_path / "model", mean), tmp_path / "bundle")
