"""What a person would not have written, in the shaders of bundles."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

_CODE = {
    "a neutral element": r"(?<![\w.])0u [*+]|[-+*] 0u\b|[*/%] 1u\b|(?<![\w.])1u \*",
    "a sum of numbers": r"(?:[=(\[,<>&|+] |[(\[]|return )(?<!<< )(?<!>> )\d+u [-+] \d+u(?! [*/%])",
    "a product of numbers": r"(?<![/%] )(?<![\w.])\d+u \* \d+u",
    "an increment": r"\+= 1u[);]",
    "a condition for 0": r"\(\w+ < 1u\)",
    "brackets around a name": r"(?<![\w>])(?<!\bif )\(\w+\)",
}
_UNUSED = re.compile(r"^const (\w+)", re.M)


def residue(bundles: Iterable[Path]) -> dict[str, list[str]]:
    """By file, the lines that a template left as no person writes them, and constants that nothing uses."""
    paths = {path.read_text(): path for bundle in bundles for path in (bundle / "kernels").rglob("*.wgsl")}
    found = {str(path): [*_lines(text), *_unused(text)] for text, path in paths.items()}
    return {path: lines for path, lines in found.items() if lines}


def _lines(text: str) -> list[str]:
    codes = {line.partition("//")[0] for line in text.splitlines()}
    return [f"{why}: {code.strip()}" for code in codes for why, pattern in _CODE.items() if re.search(pattern, code)]


def _unused(text: str) -> list[str]:
    code = re.sub(r"//.*", "", text)
    return [f"unused: {name}" for name in _UNUSED.findall(code) if len(re.findall(rf"\b{name}\b", code)) == 1]
