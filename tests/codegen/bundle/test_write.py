"""Write: the same input gives the same bytes, the report tells the truth, and a bundle is whole or not there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from bundles import shaders, whole_plan
from parity import Build, Program, case, compiled, f32, fused, graph_of, opened, weight

import intaglio
from intaglio.codegen.bundle import write
from intaglio.compiler.ir.dims import Symbol, dim
from intaglio.compiler.ir.errors import UnsupportedOperator
from intaglio.compiler.ir.graph import Graph
from intaglio.compiler.models.model import Model
from intaglio.compiler.passes.pipeline import Trace
from intaglio.runtime import designs_file, plan_file
from intaglio.runtime.contract import ON_DEMAND
from intaglio.runtime.files import describe
from intaglio.runtime.limits import PIECE
from intaglio.runtime.sizes import workgroups

FIXTURE = Path(__file__).parents[2] / "fixtures" / "whisper-merged-18"
T = dim(Symbol("new_tokens", 1, 1000))


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def doubled() -> Graph:
    b = Build()
    x = b.input("x", T, 8)
    return b.output(b.Add(x, x))


def test_two_compiles_are_byte_identical(tmp_path: Path) -> None:
    """In two processes whose hashes, and so the order of sets, differ."""
    program = "import sys, intaglio; intaglio.compile(sys.argv[1], sys.argv[2])"
    made = []
    for seed in ("1", "2"):
        out = tmp_path / seed
        environment = os.environ | {"PYTHONHASHSEED": seed}
        subprocess.run([sys.executable, "-c", program, FIXTURE, out], check=True, env=environment, cwd=tmp_path)
        made.append(files(out))
    assert made[0].keys() == made[1].keys()
    assert not [name for name in made[0] if made[0][name] != made[1][name]]


def test_the_report_lists_the_memory(whisper: Path) -> None:
    session = opened(whisper)
    plan, report = whole_plan(whisper), json.loads((whisper / "report.json").read_text())
    bytes_ = report["bytes"]
    assert bytes_["total"] == plan.bytes == session.engine.allocated + session.allocated
    for part, allocated in ("engine", session.engine.allocated), ("session", session.allocated):
        assert bytes_[part]["total"] == allocated == sum(n for p, n in bytes_[part].items() if p != "total")
    page = plan_file.read(whisper)
    assert bytes_["engine"]["weights"] == sum(b.bytes for b in page.buffers if b.kind == "weight")
    for program in ON_DEMAND:
        session.engine.complete(program)
    assert report["kernels"] == len(plan.used) == len(session.engine.pipelines)
    assert report["kernels"] + report["kernels_of_other_variants"] == len(plan.kernels) == len(shaders(whisper))
    assert report["dispatches"] == {name: len(p.steps) for name, p in plan.programs.items()}
    assert report["dispatches_per_token"] == len(plan.programs["step"].steps)


def test_few_dispatches(whisper: Path) -> None:
    """At most 7 for a layer of the encoder, and 10 for one of the decoder and a token; there are two layers of each."""
    dispatches = json.loads((whisper / "report.json").read_text())["dispatches"]
    assert (
        dispatches["encode"] <= 2 * 7 + 6
    )  # a transpose, two convolutions, the last norm, cross-attention's keys and values
    assert dispatches["step"] <= 2 * 10 + 4  # the embedding, the head, the next token


def test_the_plan_lists_every_file_with_its_hash(whisper: Path) -> None:
    """plan.json those that run, designs.json the shaders of other variants. Nobody hashes plan.json and report.json."""
    contents = files(whisper)
    del contents["plan.json"], contents["report.json"]
    page, whole = plan_file.read(whisper).files, whole_plan(whisper).files
    assert whole == {name: describe(c, pieces=name.startswith("weights")) for name, c in contents.items()}
    assert {name.startswith("kernels/variants/") for name in whole.keys() - page.keys()} == {True}
    assert not any(name.startswith("kernels/variants/") for name in page)
    for name in page:
        pieces = [contents[name][i : i + PIECE] for i in range(0, len(contents[name]), PIECE)]
        assert len(whole[name].pieces) == (len(pieces) if name.startswith("weights") else 0)


def test_the_plan_reads_back_as_it_was_written(whisper: Path) -> None:
    plan, whole = plan_file.read(whisper), whole_plan(whisper)
    text = (whisper / "plan.json").read_text()
    assert plan_file.write(plan) == text
    assert designs_file.write(whole) == (whisper / "designs.json").read_text()
    assert whole.alternatives and not plan.alternatives and whole.used == plan.kernels
    assert max(map(len, text.splitlines())) < 400, "a line for each kernel, buffer and step"


def test_files_can_be_read_by_others(whisper: Path) -> None:
    assert {oct(p.stat().st_mode & 0o444) for p in whisper.rglob("*")} == {"0o444"}


@pytest.mark.parametrize(
    "width, size, expected",
    [(8, 1, 1), (8, 32, 1), (8, 33, 2), (8, 1000, 32), (3, 1, 1), (3, 21, 1), (3, 22, 2), (3, 1000, 47)],
)
def test_grids_follow_sizes_that_vary(width: int, size: int, expected: int, tmp_path: Path) -> None:
    """64 invocations take a vec4 each, or an element where rows are no whole vec4s."""
    b = Build()
    (step,) = plan_file.read(compiled(b.output(b.Neg(b.input("x", T, width))), tmp_path / "b")).programs["main"].steps
    assert step.grid[1:] == (1, 1)
    assert set(step.grid[0]) == {"of", "per"}
    assert workgroups(step.grid, {"new_tokens": size}) == (expected, 1, 1)


def test_grids_of_known_sizes_are_numbers(tmp_path: Path) -> None:
    b = Build()
    (step,) = plan_file.read(compiled(b.output(b.Neg(b.input("x", 33, 8))), tmp_path / "b")).programs["main"].steps
    assert step.grid == (2, 1, 1)


def test_too_many_workgroups_are_shared_out(tmp_path: Path) -> None:
    """Beyond 65,535 of them each invocation takes more elements."""
    b = Build()
    (step,) = (
        plan_file.read(compiled(b.output(b.Neg(b.input("x", 9_000_001, dtype="i32"))), tmp_path / "b"))
        .programs["main"]
        .steps
    )
    assert 20_000 < step.grid[0] <= 65_535


@pytest.mark.parametrize("existing", ["nothing", "an empty folder", "a bundle"])
def test_a_bundle_takes_its_place(existing: str, tmp_path: Path) -> None:
    out = tmp_path / "out" / "m.bundle"
    if existing == "an empty folder":
        out.mkdir(parents=True)
    elif existing == "a bundle":
        compiled(doubled(), out)
        (out / "kernels" / "of_old.wgsl").write_text("")
    b = Build()
    compiled(b.output(b.Neg(b.input("x", T, 8))), out)
    assert [p.name for p in shaders(out)] == ["elementwise_neg.wgsl"]
    assert list(out.parent.iterdir()) == [out], "nothing is left beside it"


@pytest.mark.parametrize("existing", ["a file", "a folder of something else"])
def test_nothing_else_is_replaced(existing: str, tmp_path: Path) -> None:
    out = tmp_path / "precious"
    thesis = out if existing == "a file" else out / "thesis.txt"
    thesis.parent.mkdir(exist_ok=True)
    thesis.write_text("mine")
    with pytest.raises(FileExistsError, match="is not a bundle"):
        compiled(doubled(), out)
    assert thesis.read_text() == "mine" and list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize("when", ["before", "during"])
@pytest.mark.parametrize("existing", [False, True])
def test_a_compile_that_fails_leaves_nothing_behind(
    when: str, existing: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "m.bundle"
    before = files(compiled(doubled(), out)) if existing else None
    b = Build()
    graph = b.output(b.Neg(b.input("x", T, 8)))
    if when == "before":
        graph.nodes[0].op = "NoSuchOperator"
    else:
        monkeypatch.setattr(plan_file, "write", lambda plan: 1 / 0)
    with pytest.raises((UnsupportedOperator, ZeroDivisionError)):
        compiled(graph, out)
    assert list(tmp_path.iterdir()) == ([out] if existing else [])
    assert before is None or files(out) == before


def test_one_error_lists_every_operator_without_a_kernel(tmp_path: Path) -> None:
    graph = graph_of(case("a = Relu(x) b = Neg(a) y = Exp(b)", x=f32(3)).model())
    b = Build()
    x = b.input("x", 3)
    graph = b.output(b.Exp(b.Neg(b.Relu(x))))
    for i, (node, op) in enumerate(zip(graph.nodes, ("Foo", "Foo", "Bar"), strict=True)):
        node.op, node.sources = op, (f"n{i}",)
    with pytest.raises(UnsupportedOperator, match=r"no kernel for Bar \(n2\).*Foo \(2 nodes: n0, n1\)"):
        compiled(graph, tmp_path / "b")


def test_progress_is_reported(tmp_path: Path) -> None:
    heard: list[tuple[str, int, int]] = []
    b = Build()
    graph = fused(b.output(b.MatMul(b.MatMul(b.input("x", 3, 8), b.weight(8, 4)), b.weight(4, 16))))
    write.write(Model("model", {"main": graph}), tmp_path / "b", Trace(), lambda *what: heard.append(what))
    kernels, weights = ([(done, total) for stage, done, total in heard if stage == s] for s in ("kernels", "weights"))
    assert kernels == [(1, 2), (2, 2)]
    total = sum(b.bytes for b in whole_plan(tmp_path / "b").buffers if b.kind == "weight")
    assert [t for _, t in weights] == [total] * 2 and 0 < weights[0][0] < weights[1][0] == total


def test_programs_share_what_has_one_name(tmp_path: Path) -> None:
    """An output of one program is an input of the next, in the same memory; an inner value of that name is not."""
    first, second = Build(), Build()
    first.output(first.Neg(first.input("x", 4)))
    graphs = {"first": first.graph, "second": second.graph}
    first.graph.outputs[0].name = "shared"
    inner = second.Abs(second.input("shared", 4))
    second.output(second.Softmax(inner, axis=0))
    inner.name = "x"
    session = opened(compiled(graphs, tmp_path / "b"))
    x = np.array([1, -2, 3, -4], np.float32)
    session.run("first", {"x": x})
    session.submit("second", {})
    np.testing.assert_allclose(session.read("y0", {}), np.exp(abs(x)) / np.exp(abs(x)).sum(), rtol=1e-5)
    np.testing.assert_array_equal(session.read("x", {}), x)


def test_one_name_is_one_type(tmp_path: Path) -> None:
    first, second = Build(), Build()
    graphs = {"a": first.output(first.Neg(first.input("x", 4))), "b": second.output(second.Neg(second.input("x", 5)))}
    with pytest.raises(ValueError, match="x is f32"):
        compiled(graphs, tmp_path / "b")


def test_values_of_one_name_stay_separate() -> None:
    """Names are for people: what decides is which value it is."""
    b = Build()
    x = b.input("x", 8)
    a = b.Softmax(x, axis=0)
    c = b.Exp(b.Softmax(b.Neg(a), axis=0))
    graph = b.output(c, b.Add(a, c))
    a.name = "y0"
    program = Program(graph)
    feeds = {"x": np.arange(8, dtype=np.float32)}
    softmax = lambda v: np.exp(v) / np.exp(v).sum()  # noqa: E731
    expected = np.exp(softmax(-softmax(feeds["x"])))
    np.testing.assert_allclose(program.run(feeds)["y0"], expected, rtol=1e-5)


def test_names_of_a_model_do_not_reach_the_code(tmp_path: Path) -> None:
    model = case("y = Relu(x) z = MatMul(y, w)", x=f32(4, 8), w=weight(8, 8)).model()
    for node in model.graph.node:
        node.name = f"{node.op_type}\n}} fn evil() {{\u2028"
    bundle = compiled(graph_of(model), tmp_path / "b")
    opened(bundle).run("main", {"x": np.ones((4, 8), np.float32)})
    assert "evil" in (bundle / "kernels" / "elementwise_relu.wgsl").read_text().splitlines()[3]


def test_a_tensor_that_no_binding_holds_is_refused(tmp_path: Path) -> None:
    b = Build()
    with pytest.raises(UnsupportedOperator, match="binding"):
        compiled(b.output(b.Neg(b.input("x", 40_000_000, dtype="i32"))), tmp_path / "b")


def test_the_python_api_refuses_an_existing_folder(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError):
        intaglio.compile(FIXTURE, tmp_path)
