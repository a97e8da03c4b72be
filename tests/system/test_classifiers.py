"""Models that are no transformers, as torch exports them, against onnxruntime: convolutions, and a perceptron."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from parity import Arrays, assert_equal, onnxruntime_outputs

import intaglio

FIXTURES = Path(__file__).parents[1] / "fixtures"
MODELS = sorted(path.parent.name for path in FIXTURES.glob("*/model.onnx") if path.parent.name[:4] in ("cnn-", "mlp-"))


def feeds(model: onnx.ModelProto, batch: int) -> Arrays:
    random = np.random.default_rng(batch)
    shapes = {i.name: [d.dim_value for d in i.type.tensor_type.shape.dim[1:]] for i in model.graph.input}
    return {name: random.standard_normal((batch, *shape)).astype(np.float32) for name, shape in shapes.items()}


def test_there_are_several() -> None:
    assert len(MODELS) == 5


@pytest.mark.parametrize("name", MODELS)
def test_batches_of_any_size(name: str, tmp_path: Path) -> None:
    """The batch stays a symbol of the plan where it is not bound."""
    model = onnx.load(FIXTURES / name / "model.onnx")
    bundle = intaglio.compile(FIXTURES / name, tmp_path / "bundle")
    assert list(bundle.plan.symbols) == ["n_N"]
    for batch in (1, 2, 7):
        inputs = feeds(model, batch)
        assert_equal(bundle.run(inputs), onnxruntime_outputs(model, inputs), rtol=1e-4, atol=1e-5)
    assert bundle.verify() and all(result.passed for result in bundle.verify())


@pytest.mark.parametrize("name", [name for name in MODELS if name.startswith("cnn-")])
def test_convolutions_do_what_follows_them(name: str, tmp_path: Path) -> None:
    """Of what is done element by element only the branch that is added to two others is a kernel of its own."""
    bundle = intaglio.compile(FIXTURES / name, tmp_path / "bundle")
    assert sum(step.kernel.startswith("elementwise") for step in bundle.plan.programs["main"].steps) == 1
    assert bundle.report["dispatches"]["main"] == 18


@pytest.mark.parametrize("name", MODELS)
def test_a_batch_that_is_bound(name: str, tmp_path: Path) -> None:
    model = onnx.load(FIXTURES / name / "model.onnx")
    bundle = intaglio.compile(FIXTURES / name / "model.onnx", tmp_path / "bundle", bind={"N": 3})
    assert not bundle.plan.symbols
    inputs = feeds(model, 3)
    assert_equal(bundle.run(inputs), onnxruntime_outputs(model, inputs), rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match=r"expected the shape \[3, "):
        bundle.run(feeds(model, 2))


def test_a_smaller_maximum_takes_less_memory(tmp_path: Path) -> None:
    name = next(name for name in MODELS if name.startswith("cnn"))
    any_size = intaglio.compile(FIXTURES / name, tmp_path / "any")
    few = intaglio.compile(FIXTURES / name, tmp_path / "few", bind={"N": range(1, 5)})
    assert few.plan.symbols == {"n_N": (1, 4)}
    assert few.plan.bytes < any_size.plan.bytes / 50
