"""What is wrong with a model: it is broken, or it needs what cannot be compiled."""

from __future__ import annotations

SUPPORTED = "docs/operators.md lists the supported operators"
UNDECIDED = "its sizes are not known at compile time: {}; fix one of them, or an input, with --bind NAME=VALUE"


class BadModel(ValueError):
    """The model is broken, or not of a kind that can be compiled."""


class UnsupportedOperator(BadModel):
    """The model needs an operator that has no kernel, or a use of an operator that is not supported.

    `why`: what is not supported; empty if the whole operator is not. `op`, `node`: which node of which operator.
    """

    def __init__(self, why: str, op: str = "", node: str = "") -> None:
        super().__init__(refusal(op, node, why) if op else why)
        self.why, self.op, self.node = why, op, node


def refusal(op: str, nodes: str, why: str) -> str:
    """Why nodes of an operator cannot be compiled, for an error."""
    return f"{op} ({nodes}): {why}" if why else f"no kernel for {op} ({nodes}): {SUPPORTED}"
