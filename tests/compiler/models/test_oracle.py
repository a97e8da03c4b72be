"""Golden values come from the model's own file: a misreading is found, whatever our graph and our kernels agree on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import intaglio
from intaglio.compiler.ir.graph import Graph
from intaglio.compiler.models import oracle
from intaglio.compiler.reader import load
from intaglio.runtime.instruments import golden

LLAMA = Path(__file__).parents[2] / "fixtures" / "llama-optimum-18"


def model(*nodes: onnx.NodeProto, outputs: tuple[str, ...], opset: int = 18) -> onnx.ModelProto:
    """A model of a, b: f32[2,3] with `outputs` of the same type."""
    a, b, *rest = (helper.make_tensor_value_info(n, TensorProto.FLOAT, [2, 3]) for n in ("a", "b", *outputs))
    graph = helper.make_graph(nodes, "g", [a, b], rest)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


SUM_AND_DIFFERENCE = model(
    helper.make_node("Add", ["a", "b"], ["sum"]),
    helper.make_node("Sub", ["a", "b"], ["difference"]),
    outputs=("sum", "difference"),
)


def by(bundle: intaglio.Bundle) -> str:
    (check,) = golden.read(bundle.folder, bundle.plan)
    return check.by.split(" ")[0]


def failed(bundle: intaglio.Bundle) -> list[str]:
    return [result.output for result in bundle.verify() if not result.passed]


def test_onnxruntime_computes_them(tmp_path: Path) -> None:
    bundle = intaglio.compile(SUM_AND_DIFFERENCE, tmp_path / "bundle")
    assert by(bundle) == "onnxruntime" and failed(bundle) == [] and bundle.report["notes"] == []


def test_swapped_outputs_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def swapped(*arguments, **named) -> Graph:
        graph = read(*arguments, **named)
        first, second = graph.outputs
        first.name, second.name = second.name, first.name
        return graph

    read = load.load
    monkeypatch.setattr(load, "load", swapped)
    bundle = intaglio.compile(SUM_AND_DIFFERENCE, tmp_path / "bundle")
    assert sorted(failed(bundle)) == ["difference", "sum"]
    assert any("sum of main differs from onnxruntime" in note for note in bundle.report["notes"])


def test_a_misread_operator_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The graph is consistent: numpy and the kernels compute b - a."""

    def reversed_operands(node, *others) -> None:
        normalise(node, *others)
        if node.op == "Sub":
            node.inputs = node.inputs[::-1]

    normalise = load.normalise
    monkeypatch.setattr(load, "normalise", reversed_operands)
    assert failed(intaglio.compile(SUM_AND_DIFFERENCE, tmp_path / "bundle")) == ["difference"]


@pytest.mark.parametrize("quantize", [None, "q8"])
def test_a_misread_language_model_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quantize) -> None:
    """Also with packed weights, whose golden values add to onnxruntime's what packing changes."""
    right = intaglio.compile(LLAMA, tmp_path / "right", quantize=quantize)
    assert failed(right) == [] and right.report["notes"] == []

    def negated(node, *others) -> None:
        normalise(node, *others)
        if node.op == "Cos":
            node.op = "Sin"

    normalise = load.normalise
    monkeypatch.setattr(load, "normalise", negated)
    wrong = intaglio.compile(LLAMA, tmp_path / "wrong", quantize=quantize)
    assert failed(wrong) == ["logits"] * len(failed(wrong)) != []


def test_what_onnxruntime_refuses_the_reference_evaluator_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_) -> None:
        raise RuntimeError("no kernel")

    monkeypatch.setattr(oracle, "_onnxruntime", refused)
    bundle = intaglio.compile(SUM_AND_DIFFERENCE, tmp_path / "bundle")
    assert by(bundle) == "onnx" and failed(bundle) == []
    monkeypatch.setattr(oracle, "_evaluator", refused)
    bundle = intaglio.compile(SUM_AND_DIFFERENCE, tmp_path / "bundle")
    assert by(bundle) == "intaglio" and failed(bundle) == []


def test_inputs_that_onnxruntime_does_not_take(tmp_path: Path) -> None:
    """Its Python API has no 4-bit integers; ONNX's evaluator takes them."""
    graph = helper.make_graph(
        [helper.make_node("Cast", ["x"], ["y"], to=TensorProto.FLOAT)],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.INT4, [8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [8])],
    )
    opset = [helper.make_opsetid("", 21)]
    bundle = intaglio.compile(helper.make_model(graph, opset_imports=opset, ir_version=10), tmp_path / "bundle")
    assert by(bundle) == "onnx" and failed(bundle) == []


def test_packed_weights_of_a_plain_model(tmp_path: Path) -> None:
    weight = np.random.default_rng(0).standard_normal((64, 32)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [3, 64])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [3, 32])],
        [numpy_helper.from_array(weight, "w")],
    )
    bundle = intaglio.compile(helper.make_model(graph, ir_version=10), tmp_path / "bundle", quantize="q4")
    assert failed(bundle) == [] and bundle.report["precision"]["packed"]
