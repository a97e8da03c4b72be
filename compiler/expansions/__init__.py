"""What operators are made of: an operator that is a combination of others is written out, and needs no kernel.

One module a family; each maps operators to functions from a node to the values that its outputs become, in order, or to
None where the node is left as it is.
"""

from intaglio.compiler.expansions import (
    deform,
    einsum,
    index,
    norm,
    place,
    pool,
    quantize,
    recurrent,
    reduce,
    resize,
    spectral,
)

_FAMILIES = deform, einsum, index, norm, place, pool, quantize, recurrent, reduce, resize, spectral
EXPANSIONS = {op: write_out for family in _FAMILIES for op, write_out in family.EXPANSIONS.items()}
