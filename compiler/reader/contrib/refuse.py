"""Options of operators that are not supported."""

from __future__ import annotations

from intaglio.compiler.ir.errors import UnsupportedOperator
from intaglio.compiler.ir.nodes import Node


def refuse(node: Node, *attributes: str) -> None:
    """Raise UnsupportedOperator if one of `attributes` is set."""
    for name in attributes:
        if node.attrs.get(name):
            raise UnsupportedOperator(f"{name} is not supported; export the model without it")


def refuse_inputs(node: Node, **named: int) -> None:
    """Raise UnsupportedOperator if one of the inputs is present. `named`: the index of each."""
    for name, i in named.items():
        if node.input(i) is not None:
            raise UnsupportedOperator(f"{name} is not supported; export the model without it")
