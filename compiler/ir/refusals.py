"""Refusals: all reasons why a model cannot be compiled, in one error instead of one after another."""

from __future__ import annotations

from intaglio.compiler.ir.errors import Reason, UnsupportedOperator


class Refusals:
    """Collect the reasons why nodes are refused. Nodes of the same operator with the same reason share one entry."""

    def __init__(self) -> None:
        self._nodes: dict[tuple[str, str], list[str]] = {}

    def add(self, error: UnsupportedOperator, op: str, node: str) -> None:
        """Add a refusal of `node`, or of the node that the error names."""
        nodes = self._nodes.setdefault((error.op or op, error.why), [])
        name = error.node or node
        if name not in nodes:
            nodes.append(name)

    def check(self, of: str = "") -> None:
        """Raise UnsupportedOperator if there are refusals. `of`: the source of the operators, such as "opset 17"."""
        if self._nodes:
            reasons = [Reason(op, why, tuple(nodes)) for (op, why), nodes in sorted(self._nodes.items())]
            raise UnsupportedOperator("", reasons=reasons, end=f" (the model uses {of})" if of else "")
