"""One module a family of operators; importing this package fills the registry."""

from intaglio.codegen.ops import (
    attention,
    conv,
    elementwise,
    gather,
    linear,
    matmul,
    norm,
    pool,
    quantize,
    recurrent,
    reduce,
    rotary,
    sample,
    sampling,
    scatter,
)

__all__ = [
    "attention",
    "conv",
    "elementwise",
    "gather",
    "linear",
    "matmul",
    "norm",
    "pool",
    "quantize",
    "recurrent",
    "reduce",
    "rotary",
    "sample",
    "sampling",
    "scatter",
]
