"""Expansions: an operator that is a combination of others is replaced by them, and needs no kernel.

Each module maps operators to functions from a node to the values of its outputs, in order, or to None if the node
stays as it is.
"""

from importlib import import_module
from pkgutil import iter_modules

_FAMILIES = [import_module(f"{__name__}.{family.name}") for family in iter_modules(__path__)]
EXPANSIONS = {op: write_out for family in _FAMILIES for op, write_out in family.EXPANSIONS.items()}
