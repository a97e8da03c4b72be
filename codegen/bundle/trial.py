"""Compiles a model without writing anything: whether it compiles with given sizes, and what a rule does in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from onnx import ModelProto

from intaglio.codegen.bundle import assemble
from intaglio.codegen.fuse.pipeline import fuse
from intaglio.compiler.ir.errors import BadModel, UnsupportedOperator
from intaglio.compiler.models import families
from intaglio.compiler.models.family import Request, Source
from intaglio.compiler.models.plain import sizes
from intaglio.compiler.models.plain.family import PlainModel, opened
from intaglio.compiler.passes import explain
from intaglio.compiler.passes.pipeline import Trace
from intaglio.compiler.passes.quantize import Precision


def attempt(source: Source, bind: Mapping[str, Any]) -> None:
    """Compile `source` with the sizes `bind`, without writing anything. Raises BadModel if it does not compile."""
    model = families.compiled(PlainModel.read(source, Request(bind)), Trace(), Precision())
    fuse(model.graphs, Trace())
    assemble.check(model)


def explained(model: str | Path | ModelProto, rule: str, request: Request, trace: Trace) -> tuple[str, BadModel | None]:
    """Return where a rewrite rule came closest to matching a model, and the error if the model is refused.

    The text is empty if the model is refused before the rule was applied. Raises ValueError for an unknown rule.
    """
    with explain.watching(rule) as explanation:
        try:
            families.compile(model, trace, Precision(), request)
        except BadModel as error:
            return str(explanation) if explanation.fired else "", error
    return str(explanation), None


def settle(
    model: str | Path | ModelProto, request: Request, error: BadModel, say: Callable[[str], None]
) -> tuple[dict[str, Any], str]:
    """Return sizes with which a refused model compiles, and a note about them; see sizes.settle.

    Raises `error`, extended with what to give. say: called with each reason if an operator is not supported.
    """
    try:
        source = families.plain(model, request.dtype)
        if source is None or request.max_length is not None:
            raise error
        return sizes.settle(opened(source)[0], request.bind, error, partial(attempt, source))
    except UnsupportedOperator as refusal:
        for reason in refusal.reasons:
            say(str(reason))
        raise
