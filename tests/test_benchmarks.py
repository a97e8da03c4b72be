"""The benchmark: its arithmetic on results that are made up, and a workload of it with our own engine."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import intaglio
from benchmarks import report
from benchmarks.engines import engine
from benchmarks.kernels import inputs, matrix, product
from benchmarks.models import Models
from benchmarks.workloads import SIZES, Inputs, matmul


def result(*seconds: float, start: float = 1.0, peak: int = 1 << 20, tokens: tuple[int, ...] = (1, 2)) -> dict:
    runs = {"encode": [{"wall": s, "cpu": 2 * s} for s in seconds]}
    return {"runs": runs, "start": {"wall": start, "cpu": start}, "peak": peak, "tokens": [list(tokens)]}


def test_medians_over_all_rounds_and_ratios() -> None:
    ours, other = [result(1.0, 3.0), result(2.0)], [result(8.0, 20.0), result(4.0, 40.0)]
    first, second = report.rows({"encode": {"intaglio": ours, "other": other, "left out": []}})
    assert (first.engine, first.wall, first.cpu, first.wall_ratio) == ("intaglio", 2.0, 4.0, 1.0)
    assert (second.engine, second.wall, second.cpu, second.wall_ratio, second.cpu_ratio) == ("other", 14, 28, 7, 7)
    lines = report.table([first, second]).splitlines()
    assert lines[2] == "| tiny.en encoder, a window of 30 s | intaglio | 2.00 s | 4.00 s | | |"
    assert lines[3] == "|  | other | 14.00 s | 28.00 s | 7 | 7 |"


def test_starts_and_memory() -> None:
    results = {"transcribe": {"intaglio": [result(start=s, peak=m << 20) for s, m in ((1, 3), (9, 5), (2, 4))]}}
    (row,) = report.rows(results)
    assert (row.what, row.wall) == ("tiny.en, start to first text", 2)
    assert report.memory(report.peaks(results)).splitlines()[-1] == "| transcribe | 4 |"


@pytest.mark.parametrize(
    "tokens, rows, found",
    [
        ((1, 2), [1.0, 2.0005], []),
        ((1, 3), [1.0, 2.0], ["encode: other gives other tokens than intaglio"]),
        ((1, 2), [1.0, 2.1], ["encode: other differs from intaglio by 0.1, more than 0.001"]),
        ((1, 2), [1.0, np.nan], ["encode: other differs from intaglio by nan, more than 0.001"]),
    ],
)
def test_engines_that_disagree_are_told(tokens: tuple[int, ...], rows: list[float], found: list[str]) -> None:
    results = {"encode": {"intaglio": [result(1.0)], "other": [result(1.0, tokens=tokens)]}}
    numbers = {("encode", "intaglio"): np.array([1.0, 2.0]), ("encode", "other"): np.array(rows)}
    assert report.disagreements(results, numbers, {"encode": 1e-3, "transcribe": 0.0}) == found


def test_a_run_without_ours_agrees_with_nothing() -> None:
    results = {"encode": {"intaglio": [], "other": [result(1.0)]}}
    assert report.disagreements(results, {}, {"encode": 1e-3}) == ["encode: there is no result of intaglio"]


def test_what_follows_a_prompt_is_compared_too() -> None:
    ours, other = result(1.0), result(1.0)
    ours["tokens"], other["tokens"] = [[1], [2, 3]], [[1], [2, 4]]
    found = report.disagreements({"encode": {"intaglio": [ours], "other": [other]}}, {}, {"encode": 1e-3})
    assert found == ["encode: other gives other tokens than intaglio"]


def test_a_workload_with_our_engine(tmp_path: Path) -> None:
    import onnx

    models = Models(tmp_path, 64)
    models.made.mkdir()
    onnx.save(product(matrix(64, 64, np.float32), 64), models.kernel_onnx("matmul"))
    intaglio.compile(models.kernel_onnx("matmul"), models.bundle("matmul"))
    ours = engine("intaglio")(models)
    ours.load("matmul")
    made = matmul(ours, Inputs(tmp_path, tmp_path, tmp_path, 64), SIZES["quick"])
    (seconds,) = made.runs["matmul"]
    assert seconds.wall > 0 and made.start and made.work == {"matmul": (2 * 64**3, 0)}
    x = inputs("matmul", 64).astype(np.float64)
    np.testing.assert_allclose(made.rows, x @ matrix(64, 64, np.float32).astype(np.float64), atol=1e-5)
