"""Weights: the layout that kernels read, the parts that fit a binding, and each stored once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from bundles import whole_plan
from hypothesis import given
from hypothesis import strategies as st
from parity import Build, compiled, device, fused, opened
from safetensors.numpy import load_file

import intaglio
from intaglio.codegen import weights
from intaglio.codegen.bundle import write
from intaglio.codegen.formats import rows8
from intaglio.codegen.kernel import Weight
from intaglio.codegen.ops import linear
from intaglio.codegen.target import MAX_BINDING
from intaglio.codegen.weights import kernel_layout_size, to_kernel_layout
from intaglio.compiler.ir.values import TensorType, Value, type_of
from intaglio.compiler.models import families
from intaglio.compiler.models.model import Model
from intaglio.compiler.passes.pipeline import Trace
from intaglio.compiler.passes.quantize import Precision
from intaglio.runtime import plan_file
from intaglio.runtime.engine import Engine
from intaglio.runtime.session import Session

SIZES = st.integers(1, 40)


def weight(array: np.ndarray, **how: object) -> Weight:
    return Weight(Value("w", type_of(array), array), **how)


def tensors(bundle: Path) -> dict[str, np.ndarray]:
    """The weights of a bundle, whose parts lie in one file after the other."""
    parts: dict[str, list[np.ndarray]] = {}
    for path in sorted(bundle.glob("weights-*.safetensors")):
        for name, array in load_file(path).items():
            parts.setdefault(name, []).append(array)
    return {name: np.concatenate(of) for name, of in parts.items()}


@given(SIZES, SIZES)
def test_rows8_puts_every_element_where_kernels_look_for_it(n: int, k: int) -> None:
    matrix = np.arange(1, n * k + 1, dtype=np.float32).reshape(n, k)
    flat = rows8(matrix)
    k4 = -(-k // 4)
    at = np.array([[(i // 8 * k4 + j // 4) * 32 + i % 8 * 4 + j % 4 for j in range(k)] for i in range(n)])
    np.testing.assert_array_equal(flat[at], matrix)
    assert flat.size == -(-n // 8) * k4 * 32
    assert np.count_nonzero(flat) == n * k, "padding is zeros"


@given(SIZES, SIZES, st.sampled_from(["flat", "rows8"]), st.data())
def test_sizes_are_known_before_packing(n: int, k: int, layout: str, data: st.DataObject) -> None:
    rows = None if layout == "flat" else data.draw(st.one_of(st.none(), st.just((0, n)), st.just((n // 2, n))))
    made = weight(np.ones((n, k), np.float32), layout=layout, rows=rows)
    assert to_kernel_layout(made).shape == (kernel_layout_size(made),)
    assert kernel_layout_size(made) % 4 == 0


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "i1", "i8", "u1", "u8", "?"])
def test_elements_are_words(dtype: str) -> None:
    words = to_kernel_layout(weight(np.array([0, 1, 1], dtype)))
    assert words.dtype.itemsize == 4 and words.tolist() == [0, 1, 1, 0]


@given(st.integers(1, 10**6), st.integers(1, 10**5))
def test_parts_fit_a_binding(rows: int, width: int) -> None:
    ranges = linear.parts(rows, matrix(rows, width))
    assert [first for first, _ in ranges] == [0, *(end for _, end in ranges[:-1])] and ranges[-1][1] == rows
    assert all(first % 8 == 0 for first, _ in ranges)
    assert all(-(-(end - first) // 8) * 8 * -(-width // 4) * 16 <= MAX_BINDING for first, end in ranges)


def test_the_embedding_of_whisper_small_is_in_two_parts() -> None:
    assert len(linear.parts(51865, matrix(51865, 768))) == 2


def matrix(rows: int, width: int) -> Value:
    """A weight that is described, and not there."""
    return Value("matrix", TensorType("f32", (rows, width)))


def outputs(session: Session) -> dict[str, np.ndarray]:
    """Every program of a Whisper, once."""
    random = np.random.default_rng(0)
    shape = session.plan.buffers[session.plan.programs["encode"].inputs["input_features"]].shape
    hidden = session.run("encode", {"input_features": random.standard_normal(shape)})
    session.write("tokens", np.array([5, 9, 300]))
    prefill = session.run("prefill", {}, {"past": 0, "new_tokens": 3, "begin": 3})
    step = session.run("step", {}, {"past": 3, "new_tokens": 1, "begin": 3})
    tokens = session.read("tokens", {})[:, :5]
    return {"hidden": hidden["last_hidden_state"], "3": prefill["logits"], "1": step["logits"], "tokens": tokens}


def test_split_weights_give_the_same_numbers(whisper: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if a binding held 16 KiB: the head has three parts, and so has the embedding. Parts are problems of their own,
    whose fastest variants may differ: all have the first."""
    monkeypatch.setattr(linear, "MAX_BINDING", linear.TEXTURE_BYTES + (16 << 10))
    model = families.compile(Path(__file__).parents[1] / "fixtures" / whisper.name, Trace(), Precision())
    del model.graphs["mel"]  # its basis would have dozens of parts
    model.golden = [run for run in model.golden if run.probe.program != "mel"]
    split = tmp_path / "split"
    write.write(model, split, Trace())
    assert sum("embed_tokens" in name for name in tensors(split)) == 3
    one, parts = (Engine(f, replace(whole_plan(f), tunings=()), device=device()).session() for f in (whisper, split))
    expected = outputs(one)
    for name, array in outputs(parts).items():
        np.testing.assert_array_equal(array, expected[name], err_msg=name)


def test_weight_files_are_of_even_size(whisper: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """None is larger than asked for, all but the last are full up to a row, and a tensor goes on in the next one."""
    monkeypatch.setattr(weights, "FILE_BYTES", 100_000)
    row = 2048 * 16  # bytes of a texture's
    fixture = Path(__file__).parents[1] / "fixtures" / whisper.name
    bundle = intaglio.compile(fixture, tmp_path / "bundle").folder
    *full, last = sorted(bundle.glob("weights-*.safetensors"))
    assert len(full) > 3 and last.stat().st_size <= 100_000
    assert all(100_000 - row - 2000 < file.stat().st_size <= 100_000 for file in full)
    together, apart = tensors(whisper), tensors(bundle)
    assert together.keys() == apart.keys() and max(a.nbytes for a in apart.values()) > 100_000
    assert all(np.array_equal(together[name], apart[name]) for name in together)
    assert any(len(b.files) > 1 for b in plan_file.read(bundle).buffers)
    expected = outputs(opened(whisper))
    for name, array in outputs(opened(bundle)).items():
        np.testing.assert_array_equal(array, expected[name], err_msg=name)


def test_weights_are_stored_once(whisper: Path) -> None:
    """No two tensors are equal, each is one buffer, and the head is the embedding."""
    plan, found = plan_file.read(whisper), tensors(whisper)
    assert len({array.tobytes() for array in found.values()}) == len(found)
    buffers = [b for b in plan.buffers if b.kind == "weight"]
    assert sorted(b.name for b in buffers) == sorted(found)
    (table,) = (i for i, b in enumerate(plan.buffers) if b.kind == "weight" and "embed_tokens" in b.name)
    for program in ("prefill", "step"):
        assert len({s.kernel for s in plan.programs[program].steps if table in s.buffers}) == 2


def test_equal_content_under_two_names_is_stored_once(tmp_path: Path) -> None:
    b = Build()
    x, array = b.input("x", 5, 8), np.eye(8, dtype=np.float32)
    graph = b.output(b.Relu(b.Linear(x, b.constant(array))), b.Neg(b.Linear(b.Neg(x), b.constant(array.copy()))))
    assert len(tensors(compiled(graph, tmp_path / "bundle"))) == 1


def test_one_array_in_two_layouts_is_stored_twice(tmp_path: Path) -> None:
    b = Build()
    x, array = b.input("x", 8, 8), b.weight(8, 8)
    bundle = compiled(b.output(b.Linear(x, array), b.MatMul(x, array)), tmp_path / "bundle")
    assert len(tensors(bundle)) == 2
    feeds = {"x": np.random.default_rng(0).standard_normal((8, 8)).astype(np.float32)}
    y = opened(bundle).run("main", feeds)
    np.testing.assert_allclose(y["y0"], feeds["x"] @ array.const.T, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(y["y1"], feeds["x"] @ array.const, rtol=1e-5, atol=1e-5)


def test_a_weight_read_whole_in_one_program_and_by_elements_in_another(tmp_path: Path) -> None:
    """A tensor is read into one place, so it is there twice."""
    row, whole, ones = np.arange(8, dtype=np.float32), Build(), Build()
    graphs = {
        "whole": whole.output(whole.Linear(whole.input("x", 5, 8), whole.weight(8, 8), whole.constant(row))),
        "ones": ones.output(ones.Mul(ones.input("u", 5, 8, 3), ones.constant(row.reshape(8, 1)))),
    }
    for name, graph in graphs.items():
        graph.name = graph.outputs[0].name = name
        fused(graph)
    write.write(Model("model", graphs), tmp_path / "bundle", Trace())
    u = np.ones((5, 8, 3), np.float32)
    y = opened(tmp_path / "bundle").run("ones", {"u": u})["ones"]
    np.testing.assert_array_equal(y, u * row[:, None])
