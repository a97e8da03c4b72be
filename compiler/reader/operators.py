"""Which operators of ONNX are supported, and how each is compiled, for errors and for docs/operators.md."""

from __future__ import annotations

import textwrap

from onnx import defs

from intaglio.compiler.expansions import EXPANSIONS
from intaglio.compiler.ir.expression import ELEMENTWISE
from intaglio.compiler.ir.nodes import OPSET
from intaglio.compiler.reader import onnx_functions
from intaglio.compiler.reader.contrib import BEFORE, CONTRIB, DOMAIN
from intaglio.compiler.reader.control import CONTROL
from intaglio.compiler.reader.kernels import has_kernel
from intaglio.compiler.reader.opsets import OLDEST

_KNOWN = frozenset({"Constant", "Identity", "Shape", "Size"})  # their results are known when the model is read
_VIEWS = frozenset({"Flatten", "Reshape", "Squeeze", "Unsqueeze"})
_CANONICAL = frozenset({"Gemm", "Mean", "Split", "Sum"})  # see passes/canonical
_OLD = frozenset({"Dropout", "Scatter", "Upsample"})  # see opsets


def how(op: str) -> str:
    """How an operator of ONNX is compiled; an empty text if it is not supported."""
    if op in CONTROL:
        return "unrolled, where its conditions and trip counts are known"
    if op in _KNOWN:
        return "known when the model is read"
    if op in _OLD:
        return "read as what replaces it"
    if op in _VIEWS:
        return "a view of the same memory"
    if op in ELEMENTWISE:
        return "an expression, in the kernel around it"
    if onnx_functions.defines(op):
        return "written as other operators, by ONNX's own definition"
    if has_kernel(op):
        return "a kernel"
    return "written as other operators" if op in EXPANSIONS or op in _CANONICAL else ""


def table() -> str:
    """The operators in Markdown: docs/operators.md."""
    schemas: dict[str, list[int]] = {}
    for schema in defs.get_all_schemas_with_history():
        if schema.domain == "":
            schemas.setdefault(schema.name, []).append(schema.since_version)
    rows = [f"| {op} | {_opsets(op, since)} | {how(op)} |" for op, since in sorted(schemas.items()) if how(op)]
    missing = sorted(op for op in schemas if not how(op) and not defs.get_schema(op, OPSET).deprecated)
    rest = textwrap.fill(f"These do not compile: {', '.join(missing)}.", 120)
    named = ", ".join(sorted(CONTRIB.keys() - BEFORE.keys()))
    others = textwrap.fill(f"So do these of ONNX Runtime (`{DOMAIN}`), written as operators of ONNX: {named}.", 120)
    return _TABLE.format(count=len(rows), rows="\n".join(rows), rest=rest, others=others)


def _opsets(op: str, since: list[int]) -> str:
    """The opsets whose form of an operator is supported; those before OLDEST if it was the same as in OLDEST."""
    first = max((v for v in since if v <= OLDEST), default=min(since))
    last = max(since) - 1 if defs.get_schema(op, OPSET).deprecated else OPSET
    return f"{first} to {last}"


_TABLE = """\
# Operators

<!-- written by `intaglio operators`; a test compares them -->

{count} operators of ONNX compile, in these opsets. A use of one that does not compile, such as a shape that depends on
data, is refused with its reason.

| operator | opsets | how |
|---|---|---|
{rows}

{rest}

{others}
"""
