"""What the first lines of shaders say: formulas as a person writes them, shapes, and what a reduction finds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from parity import Case, case, compiled, const, f32, graph_of, i64

from intaglio.codegen.titles import formula
from intaglio.compiler.ir.expression import Expression


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        ((("Identity", "x0"),), "x0"),
        ((("Max", "x0", "x1"), ("Add", "t0", 4.0)), "max(x0, x1) + 4"),
        ((("Sub", "x0", "x1"), ("Sub", "x2", "t0"), ("Pow", "t1", 2)), "(x2 - (x0 - x1))^2"),
        ((("Sub", "x0", "x1"), ("Sub", "t0", "x2")), "x0 - x1 - x2"),
        ((("Add", "x0", 1e-5), ("Div", "x1", "t0"), ("Neg", "t1")), "-(x1 / (x0 + 1e-05))"),
        ((("Sigmoid", "acc"), ("Mul", "acc", "t0"), ("Mul", "t1", "acc1")), "acc * sigmoid(acc) * acc1"),
        ((("Cast", "i", "f32"), ("Mul", "t0", np.float32(-2.5))), "f32(i) * -2.5"),
        ((("TanhGelu", "acc"), ("Clip", "t0", None, 6)), "min(tanh_gelu(acc), 6)"),
        ((("Mul", "x0", "x1"), *(("Add", f"t{i}", "x0") for i in range(20))), "mul, " + ", ".join(["add"] * 20)),
    ],
)
def test_formula(expression: Expression, text: str) -> None:
    assert formula(expression) == text


@pytest.mark.parametrize(
    ("model", "titles"),
    [
        (case("y = Transpose <perm = [1, 0]> (x)", x=f32(30, 8)), ["Transpose [30,8] to [8,30]."]),
        (case("y = ReduceMax <keepdims = 0> (x, a)", x=f32(3, 5), a=const([1])), ["Maximum of [3,5] along axis 1,"]),
        (case("y = ReduceMean (x, a)", x=f32(3, 5), a=const([0, 1])), ["Mean of [3,5] along axes 0, 1,"]),
        (case("y = Concat <axis = 1> (x, z)", x=f32(3, 5), z=f32(3, 2)), ["Concat: [3,2] into [3,7], from 5 on"]),
        (case("y = GlobalMaxPool (x)", x=f32(1, 2, 4, 4)), ["Maximum of [1,2,4,4] along axes 2, 3,"]),
        (case("y = Gather <axis = 1> (x, i)", x=f32(3, 5), i=i64(2, low=0, high=4)), ["Gather [3,2] from [3,5]"]),
    ],
)
def test_titles(model: Case, titles: list[str], tmp_path: Path) -> None:
    folder = compiled(graph_of(model.model()), tmp_path / "bundle")
    first = [path.read_text().split("\n")[0] for path in (folder / "kernels").iterdir()]
    for title in titles:
        assert any(line.startswith(f"// {title}") for line in first), first


def test_a_maximum_is_not_called_a_sum(tmp_path: Path) -> None:
    model = case("y = ReduceMax (x)", x=f32(3, 5))
    (shader,) = (compiled(graph_of(model.model()), tmp_path / "bundle") / "kernels").iterdir()
    assert "var highest" in shader.read_text()
    assert "sum" not in shader.read_text()
