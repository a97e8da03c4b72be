"""Options of operators that are not written out."""

from __future__ import annotations

from intaglio.compiler.ir.errors import UnsupportedOperator
from intaglio.compiler.ir.graph import Node


def refuse(node: Node, *attributes: str) -> None:
    """Raise UnsupportedOperator where one of `attributes` asks for something."""
    for name in attributes:
        if node.attrs.get(name):
            raise UnsupportedOperator(f"with {name} it is not known")


def refuse_inputs(node: Node, **named: int) -> None:
    """Raise UnsupportedOperator where one of the inputs is given. `named`: which input it is."""
    for name, i in named.items():
        if node.input(i) is not None:
            raise UnsupportedOperator(f"with {name} it is not known")
