"""Golden checks run in order and on what they are given; the worst element is found; broken files are refused."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from intaglio.runtime.errors import BadBundle
from intaglio.runtime.files import describe
from intaglio.runtime.instruments import golden
from intaglio.runtime.instruments.golden import FILE, Check, Slice
from intaglio.runtime.instruments.verify import Result, compare, outputs


class Programs:
    """A session that computes with numpy: `mel` halves x; `step` adds the symbol P to what the state `kept` holds."""

    def __init__(self, folder: Path) -> None:
        files = {FILE: describe((folder / FILE).read_bytes())} if (folder / FILE).exists() else {}
        buffers = [SimpleNamespace(name="x", shape=(2, 3))]
        self.plan = SimpleNamespace(files=files, buffers=buffers, symbols={}, rules={}, rounded=False)
        self.kept = np.zeros(3, np.float32)

    def run(self, program: str, inputs: dict[str, np.ndarray], symbols: dict[str, int]) -> dict[str, np.ndarray]:
        if program == "mel":
            self.kept = inputs["x"].reshape(-1)[:3]
            return {"half": inputs["x"] / 2}
        return {"sum": self.kept + symbols["past"]}

    def read(self, name: str, symbols: dict[str, int]) -> np.ndarray:
        return {"kept": self.kept}[name]


X = np.arange(6, dtype=np.float32).reshape(2, 3)
TENSORS = {
    "0.steps.at": np.array([0, 5, 1], np.uint32),
    "0.steps.is": np.array([0, 2.5, 3]),
    "1.steps.at": np.zeros(0, np.uint32),
    "1.steps.is": np.zeros(0),
    "0.in.x": X,
    "0.at.half": np.array([0, 4, 5]),
    "0.is.half": np.array([0, 2, 2.5], np.float32),
    "1.at.sum": np.array([0, 2]),
    "1.is.sum": np.array([7, 9], np.float32),
    "1.at.kept": np.array([1]),
    "1.is.kept": np.array([1], np.float32),
    "1.f16.sum": np.array([7.5, 9], np.float32),
    "1.f16.kept": np.array([1], np.float32),
    "1.f16.steps": np.zeros(0),
}
CHECKS = [
    {
        "program": "mel",
        "symbols": {},
        "inputs": ["x"],
        "expected": {"half": 1e-4},
        "tolerance": 1e-4,
        "by": "onnxruntime 1.32.0",
        "f16": None,
        "steps": [[0, 1, 2], [3, 2, 1]],
    },
    {
        "program": "step",
        "symbols": {"past": 7},
        "inputs": [],
        "expected": {"sum": 2e-3, "kept": 0.5},
        "tolerance": 2e-3,
        "by": "onnx 1.23.2",
        "f16": {"sum": 1e-2, "kept": 0.5},
        "steps": [],
    },
]


def programs(folder: Path, checks: Any = CHECKS, **change: np.ndarray) -> Programs:
    metadata = None if checks is None else {"checks": checks if isinstance(checks, str) else json.dumps(checks)}
    tensors = {name: value for name, value in (TENSORS | change).items() if value is not None}
    save_file(tensors, folder / FILE, metadata=metadata)
    return Programs(folder)


def results(session: Programs, folder: Path, tolerance: float | None = None) -> list[Result]:
    return list(outputs(session, golden.read(folder, session.plan), tolerance))


def test_every_output_of_every_check(tmp_path):
    found = results(programs(tmp_path), tmp_path)
    assert [(r.check, r.program, r.output, r.count) for r in found] == [
        (0, "mel", "half", 3),
        (1, "step", "sum", 2),
        (1, "step", "kept", 1),
    ]
    assert all(r.passed and r.error == 0 for r in found)
    assert [r.tolerance for r in found] == [1e-4, 2e-3, 0.5]


def test_values_where_states_are_stored_in_f16(tmp_path):
    session = programs(tmp_path)
    session.plan.rounded = True
    found = {r.output: r for r in results(session, tmp_path)}
    assert (found["sum"].expected, found["sum"].error, found["sum"].tolerance) == (7.5, 0.5, 1e-2)
    assert found["half"].passed and found["kept"].passed


def test_the_worst_element(tmp_path):
    wrong = programs(tmp_path, **{"0.is.half": np.array([0.25, 2, 3.5], np.float32)})
    first, *rest = results(wrong, tmp_path)
    assert not first.passed and all(r.passed for r in rest)
    assert (first.error, first.index, first.value, first.expected) == (1, (1, 2), 2.5, 3.5)


def test_a_given_tolerance_replaces_all(tmp_path):
    wrong = programs(tmp_path, **{"0.is.half": np.array([0.25, 2, 3.5], np.float32)})
    assert all(r.passed and r.tolerance == 1 for r in results(wrong, tmp_path, 1))


def test_a_bundle_without_golden_values(tmp_path):
    assert results(Programs(tmp_path), tmp_path) == []


def result(actual: list[float], expected: list[float]) -> Result:
    """Of an output for which the check says no tolerance of its own."""
    right = Slice(np.array(expected))
    check = Check("main", {}, {}, {"y": right}, {}, {}, 1e-4, "onnxruntime")
    return compare((0, "main", "y"), np.array(actual), right, check.output_tolerance("y", right))


@pytest.mark.parametrize(
    "actual, expected, passed",
    [
        ([1.0], [1.00009], True),
        ([1.0], [1.00011], False),
        ([1000.0, 0.0], [1000.0, 0.09], True),  # in proportion to the largest value
        ([1000.0, 0.0], [1000.0, 0.11], False),
        ([np.nan], [0.0], False),
        ([np.inf], [0.0], False),
        ([0.0], [np.nan], False),
        ([np.inf], [np.inf], True),
    ],
)
def test_what_passes(actual, expected, passed):
    assert result(actual, expected).passed == passed


def test_integers_and_truth_values():
    assert result([3, 4], [3, 4]).passed
    assert not result([3, 4], [3, 5]).passed
    assert not result([True, False], [True, True]).passed


@pytest.mark.parametrize(
    "checks, change",
    [
        (None, {}),
        ("{", {}),
        ({"a": 1}, {}),
        ([{"program": "mel"}], {}),
        ([1], {}),
        (CHECKS, {"0.at.half": np.array([0, 4, 6])}),
        (CHECKS, {"0.at.half": np.array([0.5, 1, 2])}),
        (CHECKS, {"0.is.half": np.array([0, 2], np.float32)}),
        (CHECKS, {"0.at.half": np.zeros(0, np.int64), "0.is.half": np.zeros(0, np.float32)}),
        (CHECKS, {"0.in.x": None}),
        (CHECKS, {"0.steps.at": np.array([0, 5], np.uint32)}),
        (CHECKS, {"0.steps.is": np.array([0, 2.5])}),
        ([{**CHECKS[0], "steps": [[0, 1, -2], [3, 2, 1]]}], {}),
        ([{**CHECKS[0], "steps": [[0, "1", 2], [3, 2, 1]]}], {}),
        ([{**CHECKS[0], "expected": ["half"]}], {}),
        ([{**CHECKS[0], "expected": {"half": 0}}], {}),
        ([{**CHECKS[0], "expected": {"half": -1e-4}}], {}),
        ([{**CHECKS[0], "expected": {"half": math.nan}}], {}),
        ([{**CHECKS[0], "tolerance": None}], {}),
        ([{**CHECKS[0], "by": 1}], {}),
        ([{**CHECKS[0], "tolerance": -1.0}], {}),
        ([{**CHECKS[0], "f16": 1}], {}),
        ([{**CHECKS[0], "f16": {"half": 1e-4}}], {}),
        ([CHECKS[0], {**CHECKS[1], "f16": {"sum": 1e-2}}], {}),
        ([CHECKS[0], {**CHECKS[1], "f16": {"sum": 1e-2, "kept": 0.0}}], {}),
        (CHECKS, {"1.f16.steps": np.zeros(1)}),
        (CHECKS, {"1.f16.sum": np.zeros(3)}),
        (
            [{**CHECKS[1], "expected": {"nothing": 1.0}}],
            {"0.at.nothing": np.array([0]), "0.is.nothing": np.array([0.0])},
        ),
    ],
)
def test_broken_golden_values(tmp_path, checks, change):
    with pytest.raises(BadBundle, match=r"golden\.safetensors is broken"):
        results(programs(tmp_path, checks, **change), tmp_path)


def test_changed_golden_values(tmp_path):
    session = programs(tmp_path)
    (tmp_path / FILE).write_bytes(b"another")
    with pytest.raises(BadBundle, match="hash differs"):
        results(session, tmp_path)


def test_what_repeats_at_the_end_of_an_input_is_not_stored(tmp_path):
    short = np.array([[0, 1], [3, 4]], np.float32)
    session = programs(tmp_path, **{"0.in.x": short})
    (check, _) = golden.read(tmp_path, session.plan)
    np.testing.assert_array_equal(check.inputs["x"], [[0, 1, 1], [3, 4, 4]])
