"""Free sizes: what a refusal says to give makes the model compile, and a batch that nothing needs is 1."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import onnx
import pytest

from intaglio.codegen.bundle import trial
from intaglio.commands.arguments import binding
from intaglio.compiler.ir.errors import MOST, BadModel
from intaglio.compiler.models.family import Request
from intaglio.compiler.models.plain import sizes
from intaglio.compiler.reader import load


def model(text: str) -> onnx.ModelProto:
    return onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 18]> main {text}')


def settled(made: onnx.ModelProto, bind: Mapping[str, Any] | None = None) -> tuple[dict[str, Any], str]:
    """What becomes of the refusal of a model."""
    with pytest.raises(BadModel) as refused:
        trial.attempt(made, bind or {})
    return trial.settle(made, Request(bind or {}), refused.value, lambda line: None)


WINDOW = "(float[1, 1, {}] x, float[1, 1, 400] w) => (float[1, 1, L] y) {{ y = Conv<strides = [160]>(x, w) }}"
BRANCH = (
    "(float[2, 3] x, bool flag) => (float[2, 3] y) { y = If(flag) <then_branch = a () => (float[2, 3] p)"
    " { p = Neg(x) }, else_branch = b () => (float[2, 3] q) { q = Abs(x) }> }"
)
LARGE = "(float[batch, tokens, 4000] x) => (float[batch, tokens, 4000] y) { y = Neg(x) }"
LENGTHS = (
    "(float[1, time, 4] x) => (float[n] y) <int64 one = {1}, int64 most = {100}, int64[1] i = {0}> { s = Shape(x)"
    " t = Gather(s, one) m = Max(t, most) u = Unsqueeze(m, i) y = ConstantOfShape(u) }"
)


@pytest.mark.parametrize(
    "text, names",
    [
        (BRANCH, ["flag"]),
        (LENGTHS, ["time"]),
        (LENGTHS.replace("time", "?"), ["x.1"]),
    ],
)
def test_what_a_refusal_says_to_give_helps(text: str, names: list[str]) -> None:
    """No more than needed; the example lets the model compile."""
    made = model(text)
    with pytest.raises(BadModel) as caught:
        settled(made)
    refusal = str(caught.value)
    assert len(refusal) <= MOST and not re.search(r"\bn_", refusal)
    bind = dict(binding(option) for option in re.findall(r"--bind (\S+)", refusal))
    assert sorted(bind) == names
    trial.attempt(made, bind)


def test_sizes_of_minus_one_and_question_marks_are_free() -> None:
    """Paddle writes -1; two sizes called ? are two sizes."""
    made = model("(float[2, N] x, float[2, M] z) => (float[2, K] y) { y = Concat<axis = 1>(x, z) }")
    made.graph.input[0].type.tensor_type.shape.dim[1].dim_value = -1
    for v in (made.graph.input[1], made.graph.output[0]):
        v.type.tensor_type.shape.dim[1].dim_param = "?"
    graph = load.load(made, bind={"x.1": range(1, 9)})
    assert [s.high for v in graph.inputs for s in v.type.symbols] == [8, load.MAX_UNBOUND]


def test_no_sizes_are_tried_where_a_kernel_is_missing() -> None:
    made = model("(float[batch, n, 4] x, float[batch, c, n] s) => (int64[m, 3] y) { y = NonMaxSuppression(x, s) }")
    with pytest.raises(BadModel) as refused:
        trial.attempt(made, {})

    def attempt(bind: Mapping[str, Any]) -> None:
        raise AssertionError("a size was tried")

    with pytest.raises(BadModel, match="no kernel for NonMaxSuppression"):
        sizes.settle(made, {}, refused.value, attempt)


def test_a_batch_that_nothing_needs_is_one() -> None:
    """The note says how to compile for more."""
    bind, note = settled(model(LARGE))
    assert bind == {"batch": 1} and "batch" in note
    trial.attempt(model(LARGE), dict([binding(re.search(r"--bind (\S+)", note)[1])]))


def test_what_sizes_do_not_cure_is_said_alone() -> None:
    """An operator without a kernel is left when every size is given."""
    made = model(WINDOW.format("N").replace("}", " z = NonZero(y) }").replace("y)", "y, int64[3, k] z)", 1))
    with pytest.raises(BadModel) as caught:
        settled(made)
    assert "NonZero" in str(caught.value) and "--bind" not in str(caught.value)


def test_sizes_that_depend_on_data() -> None:
    """The inputs that may decide them are listed."""
    made = model("(int64[1] count, float[8] x) => (float[n] y) { y = Tile(x, count) }")
    with pytest.raises(BadModel) as caught:
        settled(made)
    assert "--bind" in str(caught.value) and "count" in str(caught.value)
