"""Printed text that the commands and the page share: tables, sizes, times, and names that are safe to print."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


def table(rows: Iterable[list[str]]) -> list[str]:
    """Indented lines, one for each row. All columns but the last are padded to equal width."""
    rows = list(rows)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  " + "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows]


def counted(count: int, noun: str, plural: str = "s") -> str:
    """A count with its noun: "1 program", "4 programs"."""
    return f"{count} {noun}{plural if count != 1 else ''}"


def size(count: int) -> str:
    """Bytes in decimal units, as disks and files are measured: "29.4 MB"."""
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count} B"


def duration(seconds: float) -> str:
    """Three digits in a unit that fits: "36.1 ms"."""
    for unit, factor in (("s", 1), ("ms", 1e3), ("µs", 1e6)):
        if seconds * factor >= 1:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds * 1e9:.0f} ns"


def groups(d: Any) -> str:
    """One dimension of a grid: a number, or a formula such as "ceil(new_tokens*384/64)"."""
    if isinstance(d, int):
        return str(d)
    product = "*".join(f"({s})" if "+" in str(s) else str(s) for s in d["of"])
    return product if d["per"] == 1 else f"ceil({product}/{d['per']})"


def precision(report: Mapping[str, Any]) -> str:
    """The number format of a bundle according to its report: "f32", "q8"."""
    entry = report.get("precision")
    return str(entry.get("name", "unknown")) if isinstance(entry, dict) else "unknown"


def printable(text: str) -> str:
    """`text` without control characters: a name in a stranger's bundle must not move the terminal's cursor."""
    return "".join(c if c.isprintable() or c == "\n" else "?" for c in text)
