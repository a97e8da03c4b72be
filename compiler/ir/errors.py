"""What is wrong with a model: it is broken, or it needs what cannot be compiled."""

from __future__ import annotations


class BadModel(ValueError):
    """The model is broken, or not of a kind that can be compiled."""


class UnsupportedOperator(BadModel):
    """The model needs an operator, or a use of one, that has no kernel: `why`, and which node of which operator."""

    def __init__(self, why: str, op: str = "", node: str = "") -> None:
        super().__init__(f"no kernel for {op} ({node}): {why}" if op else why)
        self.why, self.op, self.node = why, op, node
