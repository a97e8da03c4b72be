"""Errors of a model that is broken or cannot be compiled. A message has up to 300 characters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

SUPPORTED = "docs/operators.md lists the supported operators"
UNDECIDED = "its sizes are not known at compile time: {}"

MOST = 300  # characters of a refusal
_NAMED = 3  # nodes to name for each reason


class BadModel(ValueError):
    """The model is broken, or not of a kind that can be compiled."""


class MissingFile(BadModel):
    """A file of the model does not exist."""


@dataclass(frozen=True, order=True)
class Reason:
    """The reason why nodes of an operator cannot be compiled. `why` is empty if the operator has no kernel."""

    op: str
    why: str
    nodes: tuple[str, ...]

    def __str__(self) -> str:
        return self.text(_NAMED)

    def text(self, named: int, longest: int | None = None) -> str:
        """Return the reason with up to `named` node names, each of up to `longest` characters."""
        if not self.op:
            return self.why
        names = ", ".join(cut(n, longest) if longest else n for n in self.nodes[:named])
        more = f", and {len(self.nodes) - named} more" if len(self.nodes) > named else ""
        nodes = f"{len(self.nodes)} nodes: {names}{more}" if len(self.nodes) > 1 else names
        return f"{self.op} ({nodes}): {self.why}" if self.why else f"no kernel for {self.op} ({nodes}): {SUPPORTED}"


class UnsupportedOperator(BadModel):
    """The model needs an operator that has no kernel, or a use of an operator that is not supported.

    `why`: what is not supported; empty if the whole operator is not. `op`, `node`: which node of which operator.
    `reasons`: the reasons for every refused node. The message has those that fit.
    """

    def __init__(self, why: str, op: str = "", node: str = "", reasons: Sequence[Reason] = (), end: str = "") -> None:
        self.reasons = tuple(reasons) or (Reason(op, why, (node,)),)
        super().__init__(summary(self.reasons, end))
        self.why, self.op, self.node = why, op, node


def summary(reasons: Sequence[Reason], end: str = "") -> str:
    """Return the reasons in up to MOST characters: those that fit, the number of the others, and all of `end`."""
    room = MOST - len(end)
    for named, longest in ((_NAMED, None), (1, None), (1, 60)):
        texts = [reason.text(named, longest) for reason in reasons]
        if len("; ".join(texts)) <= room:
            return "; ".join(texts) + end
    for count in range(len(texts) - 1, 0, -1):
        text = "; ".join(texts[:count]) + f"; and {len(texts) - count} more (-v lists all)"
        if len(text) <= room:
            return text + end
    more = f"; and {len(texts) - 1} more (-v lists all)" if len(texts) > 1 else ""
    return cut(texts[0], max(room - len(more), 0)) + more + end


def cut(text: str, most: int) -> str:
    """Return `text` in up to `most` characters, with "..." in place of its middle."""
    if len(text) <= most:
        return text
    first, last = (most - 3 + 1) // 2, max(most - 3, 0) // 2
    return text[: max(first, 0)] + "..." + (text[-last:] if last else "")


def listed(names: Sequence[str], most: int = 200) -> str:
    """Return the names that fit in `most` characters, separated by commas, and the number of the others."""
    count = len(names)
    while count > 1 and len(", ".join(names[:count])) > most:
        count -= 1
    more = f", and {len(names) - count} more" if count < len(names) else ""
    return cut(", ".join(names[:count]), most) + more
