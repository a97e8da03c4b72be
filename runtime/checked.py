"""JSON from strangers, type by type: each function returns a value of the expected type, or raises TypeError."""

from __future__ import annotations

from typing import Any, TypeVar

T = TypeVar("T")


def typed(value: Any, *types: type[T]) -> T:
    """`value`, which is of one of these types, and not of a subclass as True is of int."""
    if type(value) not in types:
        raise TypeError(f"expected {' or '.join(t.__name__ for t in types)}, got {str(value)[:40]!r}")
    return value


def items(value: Any, *types: type[T]) -> tuple[T, ...]:
    """A list of values of these types."""
    return tuple(typed(item, *types) for item in typed(value, list))


def named(value: Any, *types: type[T]) -> dict[str, T]:
    """An object whose values are of these types."""
    return {name: typed(item, *types) for name, item in typed(value, dict).items()}
