"""What operators are made of: an operator that is a combination of others is written out, and needs no kernel.

One module a family; each maps operators to functions from a node to the values that its outputs become, in order, or to
None where the node is left as it is.
"""

from intaglio.compiler.expansions import index, norm, pool, resize

EXPANSIONS = index.EXPANSIONS | norm.EXPANSIONS | pool.EXPANSIONS | resize.EXPANSIONS
