"""One module a family of operators; importing this package fills the registry."""

from intaglio.codegen.ops import (
    attention,
    conv,
    elementwise,
    fake_quantize,
    gather,
    grid_sample,
    linear,
    matmul,
    next_token,
    norm,
    pool,
    recurrent,
    reduce,
    rotary,
    scatter,
)

__all__ = [
    "attention",
    "conv",
    "elementwise",
    "fake_quantize",
    "gather",
    "grid_sample",
    "linear",
    "matmul",
    "next_token",
    "norm",
    "pool",
    "recurrent",
    "reduce",
    "rotary",
    "scatter",
]
