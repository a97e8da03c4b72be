"""graph.json: what is written is read, it says what the plan's steps compute, and nothing broken is let in."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundles import accept
from graphs import model, random

import intaglio
from intaglio.runtime.errors import BadBundle
from intaglio.runtime.instruments import provenance as graphs
from intaglio.runtime.instruments.provenance import Origin

TEXT = """main (float[n,8] x) => (float[n,4] y) {
  product = MatMul(x, w)
  sum = Add(product, b)
  y = Relu(sum)
}"""


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """relu(x w + b), which is one step."""
    m = model(TEXT, {"w": random(8, 4), "b": random(4)})
    for i, node in enumerate(m.graph.node):
        node.name = f"/layer/{i}"
    return intaglio.compile(m, tmp_path / "bundle").folder


def test_what_a_step_computes(bundle: Path) -> None:
    opened = intaglio.load(bundle)
    graph = opened.graph
    assert graphs.write(graph) == (bundle / graphs.FILE).read_text()
    loaded, fused = graph.models["main"], graph.programs["main"]
    assert [o.op for o in loaded.operations] == ["MatMul", "Add", "Relu"]
    assert [o.nodes for o in loaded.operations] == [("/layer/0",), ("/layer/1",), ("/layer/2",)]
    assert loaded.types["product"] == "f32[n_n,4]" and loaded.types["w"] == "f32[8,4]"
    assert (loaded.operations[0].reads, loaded.operations[0].consts) == (("x", "w"), (1,))
    (made,) = fused.operations
    assert (made.op, made.model, made.nodes) == ("Linear", "main", ("/layer/0", "/layer/1", "/layer/2"))
    (work,) = graph.work["main"]
    assert work.flops == ("64*n_n", 1)
    x, w, b, y = work.operands
    assert (str(x), w.layout, b.shape) == ("f32[n_n,8]", "rows8", (4,))
    assert y.whole and y.origin == Origin("main", "y")
    moved = 3 * 8 + 8 * 8 + 4 + 3 * 4  # the four rows of weights are padded to eight
    assert graph.cost(opened.plan, "main", 0, {"n_n": 3}) == (192, 4 * moved)


def test_origins_are_seen_through_views() -> None:
    array = np.arange(24).reshape(2, 3, 4)
    origin = Origin("main", "x", (("perm", (2, 0, 1)), ("shape", ("n", 6))))
    np.testing.assert_array_equal(origin.apply(array, {"n": 4}), array.transpose(2, 0, 1).reshape(4, 6))
    first = Origin("main", "x", (("first", (1, 3, "n")),))
    np.testing.assert_array_equal(first.apply(array, {"n": 2}), array[:1, :, :2])


def test_names_from_models_are_kept(tmp_path: Path) -> None:
    """Whatever a model calls its nodes and values comes back as it was."""
    m = model("main (float[2] x) => (float[2] y) { z = Exp(x) y = Neg(z) }")
    odd = ['</script><b a="', "\u202e\n\x1b[31m"]
    for node, name in zip(m.graph.node, odd, strict=True):
        node.name = name
    opened = intaglio.compile(m, tmp_path / "bundle")
    assert opened.graph.operation("main", 0).nodes == tuple(odd)
    assert "\x1b" not in (tmp_path / "bundle" / graphs.FILE).read_text()


def changed(folder: Path, change: Callable[[Any], Any]) -> Path:
    """graph.json with a change, under the hash that it has then."""
    data = json.loads((folder / graphs.FILE).read_text())
    text = change(data)
    text = text if isinstance(text, str) else json.dumps(data)
    (folder / graphs.FILE).write_text(text)
    accept(folder, folder / graphs.FILE)
    return folder


def operand(i: int, **fields: Any) -> Callable[[Any], None]:
    return lambda data: data["work"]["main"][0]["operands"][i].update(fields)


@pytest.mark.parametrize(
    "change",
    [
        lambda data: "{",
        lambda data: "[" * 100_000,
        lambda data: "[]",
        lambda data: data.update(format="other"),
        lambda data: data.pop("models"),
        lambda data: data["work"].update(other=[]),
        lambda data: data["work"]["main"].append(data["work"]["main"][0]),
        lambda data: data["work"]["main"][0].update(operation=1),
        lambda data: data["work"]["main"][0].update(operation=-1),
        lambda data: data["work"]["main"][0].update(flops=["n*n"]),
        lambda data: data["work"]["main"][0].update(flops=[1.5]),
        lambda data: data["work"]["main"][0]["operands"].pop(),
        lambda data: data["programs"]["main"]["operations"][0].update(consts=[7]),
        lambda data: data["programs"]["main"]["operations"][0].update(nodes="abc"),
        lambda data: data["programs"]["main"]["operations"][0].update(more=1),
        lambda data: data["models"]["main"]["types"].update(x=3),
        operand(0, dtype="f33"),
        operand(0, shape=["unknown"]),
        operand(0, shape=[-1]),
        operand(0, offset="n"),
        operand(0, touched=[True]),
        operand(3, origin=["main", "y"]),
        operand(3, origin={"model": "main", "name": "y", "views": [["perm"]]}),
        operand(3, whole=1),
    ],
)
def test_broken_graphs(bundle: Path, change: Callable[[Any], Any]) -> None:
    with pytest.raises(BadBundle, match=r"graph\.json is broken"):
        intaglio.load(changed(bundle, change)).graph  # noqa: B018


def test_a_changed_graph(bundle: Path) -> None:
    (bundle / graphs.FILE).write_text("{}")
    with pytest.raises(BadBundle, match="hash differs"):
        intaglio.load(bundle).graph  # noqa: B018


def test_a_bundle_without_one(bundle: Path) -> None:
    plan = json.loads((bundle / "plan.json").read_text())
    del plan["files"][graphs.FILE]
    (bundle / "plan.json").write_text(json.dumps(plan))
    opened = intaglio.load(bundle)
    assert opened.run({"x": np.ones((1, 8), np.float32)})["y"].shape == (1, 4)
    with pytest.raises(BadBundle, match="compile the model again"):
        opened.graph  # noqa: B018
