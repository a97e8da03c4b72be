"""Classes of adapters, and the variants that a bundle runs on each."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundles import whole_plan
from parity import Build, compiled, device

from intaglio.compiler.ir.dims import Symbol, dim
from intaglio.runtime import tuning
from intaglio.runtime.adapter_class import CLASSES, VARIABLE, adapter_class
from intaglio.runtime.engine import Engine
from intaglio.runtime.plan import Choice, Plan, Tuning


def adapter(type: str, vendor_id: int, vendor: str = "") -> dict[str, Any]:
    return {"adapter_type": type, "vendor_id": vendor_id, "vendor": vendor, "device": "a", "description": "b"}


@pytest.mark.parametrize(
    "info, expected",
    [
        (adapter("CPU", 0x10005, "llvmpipe"), "cpu"),
        (adapter("CPU", 0x1AE0), "cpu"),  # SwiftShader
        (adapter("DiscreteGPU", 0x10DE), "nvidia"),
        (adapter("DiscreteGPU", 0x1002, "radv"), "amd"),
        (adapter("IntegratedGPU", 0x1002), "amd"),
        (adapter("IntegratedGPU", 0x106B), "apple"),
        (adapter("Unknown", 0, "Apple"), "apple"),
        (adapter("DiscreteGPU", 0x8086), "intel"),
        (adapter("IntegratedGPU", 0x5143), "mobile"),
        (adapter("IntegratedGPU", 0x13B5), "mobile"),
        (adapter("Unknown", 0, "qualcomm"), "mobile"),
        (adapter("VirtualGPU", 0x1AF4, "virtio"), "gpu"),
        (adapter("DiscreteGPU", 0x1ED5, "mthreads"), "gpu"),
    ],
)
def test_classes_by_type_and_vendor(info: dict[str, Any], expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    name, why = adapter_class(CLASSES, info)
    assert name == expected and why


def test_a_class_can_be_forced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "mobile")
    assert adapter_class(CLASSES, adapter("CPU", 1)) == ("mobile", "INTAGLIO_ADAPTER_CLASS says so")
    monkeypatch.setenv(VARIABLE, "toaster")
    with pytest.raises(ValueError, match=r"'toaster' is not a class .*cpu, nvidia, amd"):
        adapter_class(CLASSES, adapter("CPU", 1))


@pytest.mark.parametrize(
    "choice, sizes",
    [
        (Choice(("a",)), {"a": (0, 9)}),
        (Choice(("a", "b"), "n", (32,)), {"a": (0, 32), "b": (33, 999)}),
        (Choice(("a", "b", "c"), "2*n", (32, 64)), {"a": (16,), "b": (17, 32), "c": (33,)}),
    ],
)
def test_a_choice_by_size(choice: Choice, sizes: dict[str, tuple[int, ...]]) -> None:
    for variant, numbers in sizes.items():
        assert [choice.at({"n": n}) for n in numbers] == [variant] * len(numbers)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A product of 1 to 300 rows; from 129 rows on there are enough of them for the largest tiles."""
    b, rows = Build(), dim(Symbol("n", 1, 300))
    graph = b.output(b.Linear(b.input("x", 1, rows, 32), b.weight(8192, 32)))
    return compiled(graph, tmp_path_factory.mktemp("classes") / "bundle")


def test_what_runs_depends_on_the_class_and_the_size(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A class that is forced goes before a tuning. All classes compute the same."""
    info = device().adapter_info
    (problem,) = whole_plan(folder).alternatives
    whole = replace(whole_plan(folder), tunings=(Tuning(*tuning.adapter(info), {problem: "rows4"}),))
    x = np.random.default_rng(0).standard_normal((1, 200, 32)).astype(np.float32)
    ran, results = {}, []
    for name in ("", "cpu", "amd", "intel"):
        monkeypatch.setenv(VARIABLE, name)
        session = Engine(folder, whole, device=device()).session()
        (step,) = session.plan.programs["main"].steps
        ran[name] = [step.name({"n": n}).removeprefix("matmul_32x8192_") for n in (8, 9, 128, 129)]
        results.append([session.run("main", {"x": x[:, :n]})["y0"] for n in (5, 100, 200)])
    assert ran == {
        "": ["rows4"] * 4,
        "cpu": ["matmul_32x8192"] * 4,
        "amd": ["slices32_buffers", "tiles64_buffers", "tiles64_buffers", "tiles128_buffers"],
        "intel": ["slices32_buffers", *["tiles64_buffers"] * 3],
    }
    for other in results[1:]:
        for expected, actual in zip(results[0], other, strict=True):
            np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)


def needs(plan: Plan, choice: Choice, problem: str) -> set[str]:
    parts = [p for v in choice.variants for p in plan.alternatives[problem].others.get(v, ())]
    return {need for part in parts for need in plan.kernels[part.kernel].needs}


def test_no_profile_needs_what_an_adapter_may_lack(folder: Path, tiny_en_bundle: Path) -> None:
    """Above all not subgroups of 8: their size is not certain on any GPU."""
    for plan in map(whole_plan, (folder, tiny_en_bundle)):
        assert plan.profiles.keys() == CLASSES.keys() - {"cpu"}
        for choices in plan.profiles.values():
            assert choices and not any(needs(plan, choice, problem) for problem, choice in choices.items())
