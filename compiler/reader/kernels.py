"""The operators that have a kernel. The compiler knows no kernels: codegen registers each here as it defines it."""

from __future__ import annotations

_NAMES: set[str] = set()


def register(*operators: str) -> None:
    _NAMES.update(operators)


def has_kernel(operator: str) -> bool:
    """Whether codegen computes an operator of ONNX. Raises RuntimeError if codegen was not imported."""
    if not _NAMES:
        raise RuntimeError("no kernels are registered; import intaglio.codegen.ops before a model is read")
    return operator in _NAMES
