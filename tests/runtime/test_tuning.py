"""Tuning: what is chosen for an adapter, by lookup, from what was measured."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from bundles import store_plan, whole_plan
from parity import Build, compiled, device, opened

from intaglio.runtime import tuning
from intaglio.runtime.engine import Engine
from intaglio.runtime.plan import Alternatives, Part, Plan, Tuning
from intaglio.runtime.tuning import Measurements

PROBLEM = "matmul 40x32x64"
OTHERS = {"rows8": (Part("b", (0,), (1, 1, 1)),), "tiles64": (Part("c", (0,), (1, 1, 1)),)}


def alternatives(*problems: str) -> list[Alternatives]:
    return [Alternatives(problem, "rows16", OTHERS) for problem in problems]


def measured(**seconds: dict[str, float]) -> Measurements:
    return Measurements("llvmpipe", "Mesa 22", {problem.replace("_", " "): s for problem, s in seconds.items()})


@pytest.mark.parametrize(
    "seconds, chosen",
    [
        ({"rows16": 2e-3, "rows8": 1e-3, "tiles64": 3e-3}, "rows8"),
        ({"rows16": 1e-3, "rows8": 2e-3, "tiles64": 3e-3}, "rows16"),  # what it is already
        ({"rows16": 1e-3, "rows8": 0.99e-3, "tiles64": 3e-3}, "rows16"),  # a gain that is noise
        ({"rows16": 1e-3, "other": 1e-6}, "rows16"),  # a variant that this bundle does not have
        ({"rows8": 1e-3}, "rows8"),  # where its own is wrong here
    ],
)
def test_the_fastest_variant_is_chosen(seconds: dict[str, float], chosen: str) -> None:
    found = measured(matmul_8x8x8=seconds).tuning(alternatives("matmul 8x8x8"))
    assert found == Tuning("llvmpipe", "Mesa 22", {"matmul 8x8x8": chosen})


def test_sizes_that_were_not_measured_go_by_their_family() -> None:
    """By the ratios: the one problem that takes long does not decide alone."""
    known = measured(
        matmul_1x1x1={"rows16": 1e-6, "rows8": 0.5e-6, "tiles64": 3e-6},
        matmul_2x2x2={"rows16": 1e-6, "rows8": 0.6e-6, "tiles64": 3e-6},
        matmul_3x3x3={"rows16": 1.0, "rows8": 1.1},
        conv1d_1x1x1={"rows16": 1.0, "rows8": 9.0, "tiles64": 0.1},
    )
    found = known.tuning(alternatives("matmul 9x9x9", "conv1d 9x9x9", "matvec 9x9", "matmul 3x3x3"))
    assert found.variants == {"matmul 9x9x9": "rows8", "conv1d 9x9x9": "tiles64", "matmul 3x3x3": "rows16"}


def test_a_file_reads_back_and_takes_more(tmp_path: Path) -> None:
    known, more = measured(a_1={"x": 1.0}, b_1={"x": 2.0}), measured(b_1={"y": 3.0})
    (tmp_path / "t.json").write_text(tuning.write(known.with_more(more)))
    assert tuning.read(tmp_path / "t.json") == measured(a_1={"x": 1.0}, b_1={"y": 3.0})
    with pytest.raises(ValueError, match=r"the tuning file is for llvmpipe, Mesa 22; .*-o"):
        known.with_more(replace(more, driver="Mesa 25"))


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        json.dumps({"format": "intaglio-tuning-0"}),
        json.dumps({"format": tuning.FORMAT, "device": "a", "driver": "b"}),
        json.dumps({"format": tuning.FORMAT, "device": "a", "driver": 1, "seconds": {}}),
        json.dumps({"format": tuning.FORMAT, "device": "a", "driver": "b", "seconds": {"c": []}}),
        json.dumps({"format": tuning.FORMAT, "device": "a", "driver": "b", "seconds": {"c": {}}}),
        json.dumps({"format": tuning.FORMAT, "device": "a", "driver": "b", "seconds": {"c": {"d": -1.0}}}),
        json.dumps({"format": tuning.FORMAT, "device": "a", "driver": "b", "seconds": {"c": {"d": "fast"}}}),
        "[" * 100_000,
    ],
)
def test_files_that_are_not_tunings(content: str, tmp_path: Path) -> None:
    (tmp_path / "t.json").write_text(content)
    with pytest.raises(ValueError, match=r"t\.json is not a tuning file that `intaglio tune` wrote"):
        tuning.read(tmp_path / "t.json")


# at load


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A product of 40 rows, in its own variant."""
    b = Build()
    graph = b.output(b.Linear(b.input("x", 1, 40, 32), b.weight(64, 32)))
    return compiled(graph, tmp_path_factory.mktemp("tuning") / "bundle")


def variant(plan: Plan) -> str:
    (step,) = plan.programs["main"].steps
    assert {d.kernel for d in step.possible} == plan.used.keys()
    return step.choice.at({}) if step.choice else step.alternatives.variant


def on(plan: Plan, device: str, driver: str, granted: tuple[str, ...] = ()) -> str:
    return variant(tuning.as_measured(plan, {"device": device, "description": driver}, granted))


def test_the_driver_goes_before_the_device(folder: Path) -> None:
    tunings = [
        Tuning("llvmpipe", "Mesa 24", {PROBLEM: "rows4"}),
        Tuning("llvmpipe", "Mesa 22", {PROBLEM: "tiles64"}),
        Tuning("NVIDIA H100", "590", {PROBLEM: "tiles128"}),
    ]
    plan = replace(whole_plan(folder), tunings=tuple(tunings))
    assert variant(plan) == on(plan, "an adapter that nobody tuned for", "1") == "rows16"
    assert on(plan, "llvmpipe (LLVM 15.0.6, 256 bits)", "Mesa 22") == "tiles64"
    assert on(plan, "llvmpipe (LLVM 19, 512 bits)", "Mesa 26") == "rows4"
    assert on(plan, "NVIDIA H100", "591") == "tiles128"


def test_variants_with_features_are_for_the_very_device(folder: Path) -> None:
    """Another width of its vectors is another size of subgroups."""
    plan = replace(whole_plan(folder), tunings=(Tuning("llvmpipe (256 bits)", "1", {PROBLEM: "subgroup"}),))
    assert on(plan, "llvmpipe (256 bits)", "2", ("subgroups",)) == "subgroup"
    assert on(plan, "llvmpipe (128 bits)", "1", ("subgroups",)) == "rows16"


def test_variants_that_an_adapter_cannot_run_are_not_taken(folder: Path) -> None:
    plan = replace(
        whole_plan(folder), tunings=(Tuning("a", "1", {PROBLEM: "subgroup"}), Tuning("b", "1", {PROBLEM: "none"}))
    )
    assert on(plan, "a", "1") == on(plan, "b", "1") == "rows16"
    assert on(plan, "a", "1", ("subgroups",)) == "subgroup"


def test_a_bundle_takes_the_variant_for_this_adapter(folder: Path, tmp_path: Path) -> None:
    name, driver = tuning.adapter(device().adapter_info)
    plan = replace(whole_plan(folder), tunings=(Tuning(name, driver, {PROBLEM: "rows4"}),))
    store_plan(folder, plan)
    session = opened(folder)
    assert variant(session.plan) == "rows4"
    assert list(session.engine.pipelines) == [session.plan.programs["main"].steps[0].name({})]


def test_a_device_has_larger_limits_only_for_variants_that_need_them(tmp_path: Path) -> None:
    b = Build()
    q, k = b.input("q", 1, 1, 32), b.input("k", 1, 70, 32)
    folder = compiled(b.output(b.Attention(q, k, k, heads=2, kv_heads=2, scale=0.25, past=None)), tmp_path / "bundle")
    plan = replace(whole_plan(folder), tunings=())
    (step,) = plan.programs["main"].steps
    here = Tuning(*tuning.adapter(device().adapter_info), {step.alternatives.problem: "lanes1024x1"})
    random = np.random.default_rng(0)
    feeds = {"q": random.standard_normal((1, 1, 32)), "k": random.standard_normal((1, 70, 32))}
    results = []
    for tunings, most in ((), 256), ((here,), 1024):
        session = Engine(folder, replace(plan, tunings=tunings)).session()
        assert session.device.limits["max-compute-invocations-per-workgroup"] == most
        results.append(session.run("main", {name: x.astype(np.float32) for name, x in feeds.items()})["y0"])
    np.testing.assert_allclose(*results, rtol=1e-5, atol=1e-5)
