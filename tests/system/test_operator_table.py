"""The table of operators: it is what is documented, and what it says is so."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import node_tests
import onnx
import pytest

import intaglio
from intaglio.codegen import ops
from intaglio.codegen.kernel import OPS
from intaglio.compiler.expansions import EXPANSIONS
from intaglio.compiler.reader import operators

DOCUMENT = Path(__file__).parents[2] / "docs" / "operators.md"
OF_ONNX = {s.name for s in onnx.defs.get_all_schemas() if s.domain == ""}

assert ops  # importing it filled OPS


def test_the_document_is_up_to_date() -> None:
    assert DOCUMENT.read_text() == intaglio.operators(), "write it again: intaglio operators > docs/operators.md"


def test_every_kernel_of_an_operator_of_onnx_is_used() -> None:
    """But for those of which ONNX's form is another, or wider: they are written out."""
    kernels = {op for op in OF_ONNX if operators.how(op) == "a kernel"}
    assert kernels == OPS.keys() & OF_ONNX - {"Attention", "RMSNormalization"}


def test_the_reader_asks_for_the_kernels() -> None:
    """Without codegen nothing says what has a kernel, which must not look as if nothing had."""
    read = "from intaglio.compiler.reader import operators; operators.how('Softmax')"
    done = subprocess.run([sys.executable, "-c", read], capture_output=True, text=True)
    assert done.returncode and "import intaglio.codegen.ops" in done.stderr


def test_every_operator_of_the_table_is_tested() -> None:
    """In a node test of ONNX that is not refused, or by a case in codegen/ops/, which kernels and expansions have."""
    refused = set(node_tests.names("unsupported"))
    passed = [case for name, case in node_tests.cases().items() if name not in refused]
    tested = {node.op_type for case in passed for node in case.model.graph.node}
    missing = {op for op in OF_ONNX if operators.how(op)} - tested - EXPANSIONS.keys() - OPS.keys()
    assert not missing


@pytest.mark.parametrize(
    "op, how",
    [
        ("Add", "an expression, in the kernel around it"),
        ("Conv", "a kernel"),
        ("Reshape", "a view of the same memory"),
        ("Gemm", "written as other operators"),
        ("Celu", "written as other operators, by ONNX's own definition"),
        ("If", "unrolled, where its conditions and trip counts are known"),
        ("RandomNormal", ""),
        ("Nonsense", ""),
    ],
)
def test_how_operators_are_compiled(op: str, how: str) -> None:
    assert operators.how(op) == how
