"""One module a family of operators; importing this package fills the registry."""

from intaglio.codegen.ops import attention, elementwise, gather, linear, matmul, norm, reduce, rotary, sample

__all__ = ["attention", "elementwise", "gather", "linear", "matmul", "norm", "reduce", "rotary", "sample"]
