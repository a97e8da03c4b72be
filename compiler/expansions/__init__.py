"""What operators are made of: an operator that is a combination of others is written out, and needs no kernel.

One module a family; each maps operators to functions from a node to the values that its outputs become, in order, or to
None where the node is left as it is.
"""

from importlib import import_module
from pkgutil import iter_modules

_FAMILIES = [import_module(f"{__name__}.{family.name}") for family in iter_modules(__path__)]
EXPANSIONS = {op: write_out for family in _FAMILIES for op, write_out in family.EXPANSIONS.items()}
