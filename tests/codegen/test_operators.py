"""Of all operators together: each that has a kernel has a case in ops/, and every shader passes Chrome's compiler.

To add an operator, add a line to CASES in the file of its family.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest
import readable
from parity import (
    Case,
    compiled,
    const,
    f32,
    fused,
    graph_of,
    i64,
)

import tint
from intaglio.codegen import wgsl
from intaglio.codegen.kernel import OPS
from intaglio.compiler.expansions import EXPANSIONS
from intaglio.compiler.ir.errors import UnsupportedOperator
from intaglio.compiler.ir.expression import ELEMENTWISE, SMOOTH, operator

FAMILIES = {
    path.stem: import_module(f"tests.codegen.ops.{path.stem}")
    for path in sorted((Path(__file__).parent / "ops").glob("test_*.py"))
}
CASES: list[Case] = [case for family in FAMILIES.values() for case in getattr(family, "CASES", ())]
LAYERS, TAILS = FAMILIES["test_own"].LAYERS, FAMILIES["test_elementwise"].TAILS


def test_every_operator_has_a_case() -> None:
    """Every operator that has a kernel, or is written as others here, occurs in a case."""
    graphs = [graph_of(case.model()) for case in CASES]
    graphs += [fused(layer.build()) for layer in LAYERS.values()]
    found = {"SampleToken", "WhisperToken"}  # these have tests of their own
    for node in (n for g in graphs for n in g.nodes):
        steps = [step for key in ("steps", "tail", "gate") for step in node.settings.get(key, ())]
        found |= {node.op, *(step[0] for step in steps), *(operator(step)[0] for step in steps)}
    found |= {node.op_type for case in CASES for node in case.model().graph.node}
    missing = {*OPS, *ELEMENTWISE, *EXPANSIONS, *wgsl.OPERATORS, *(op for op, _ in wgsl.BY_KIND), "Reshape"} - found
    assert not missing


def test_every_smooth_operator_has_a_case_as_a_tail() -> None:
    """Tails are computed four numbers at a time, so operators that may be part of one are written twice."""
    tails = [node.tail for case in TAILS for node in graph_of(case.model()).nodes if node.tail is not None]
    found = {op for tail in tails for op, *_ in tail.steps}
    assert not SMOOTH - {"Identity"} - found


@pytest.mark.parametrize(
    "text, inputs, message",
    [
        ("y, i = TopK(x, k)", {"x": f32(70_000), "k": const([1])}, "70000 elements"),
        ("y = Add(x, b)", {"x": i64(3), "b": const(2**40)}, "32 bits"),
        ("y = Add(x, b)", {"x": i64(3), "b": const([2**40, 1, 1])}, "32 bits"),
        ("y = ReduceSum(x)", {"x": f32(3000, 3000)}, "9000000 elements"),
    ],
)
def test_refused(text: str, inputs: dict, message: str, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedOperator, match=message):
        compiled(graph_of(Case(text, inputs).model()), tmp_path / "bundle")
    assert not list(tmp_path.iterdir())


def test_every_shader_passes_tint_and_reads_well(bundle_of: Callable[[Case], Path], tmp_path: Path) -> None:
    """What naga takes, and so ran in ops/, Chrome's compiler takes too; and nothing is left of the templates."""
    folders = [bundle_of(case) for case in CASES]
    for i, layer in enumerate(LAYERS.values()):
        folders.append(compiled(fused(layer.build()), tmp_path / str(i)))
    assert not tint.wrong(folders)
    assert not readable.residue(folders)
