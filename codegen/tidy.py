"""Tidy: what templates leave behind is simplified, `0u * X +`, `+ 0u`, `* 1u`, `1500u - 1u`, so that shaders read as if
a person had written them. Only u32 arithmetic is touched, which wraps around exactly; floats stay as they are.

Every rule says in its lookaround where it may apply: `0u + b` is `b` after `(`, but not after `a - ` or `a * `.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from itertools import islice

_PRIMARY = r"(?:[\w.]*\((?:[^()]|\((?:[^()]|\([^()]*\))*\))*\)|[\w.]+(?:\[[^][]*\])?)"  # a name, number, call or (...)
_PRODUCT = rf"{_PRIMARY}(?: [*/%] {_PRIMARY})*"
_OPEN = r"(?<=[(\[])|(?<=return )|(?<=[^<>][<>] )|(?<=[=,&|] )"  # an expression begins here, though not a shift's right
_BEGIN = rf"(?:{_OPEN}|(?<=\+ ))"  # a sum begins here, or a term that is added
_TERM = rf"(?:{_OPEN}|(?<=[-+] ))"  # a product begins here
_FACTOR = rf"(?:{_OPEN}|(?<=[-+*] ))"  # a product begins here, or goes on after `*`
_END = r"(?=[]);,>]| [-+<>=!&|])"  # a term ends here


def _folded(match: re.Match[str]) -> str:
    """Two numbers as one, unless it does not fit u32."""
    left, right = int(match[1]), int(match[3])
    if match[2] in "/%" and right == 0:
        return match[0]
    value = {"+": left + right, "-": left - right, "*": left * right}.get(match[2])
    value = value if value is not None else left // right if match[2] == "/" else left % right
    return f"{value}u" if 0 <= value < 1 << 32 else match[0]


_Replacement = str | Callable[[re.Match[str]], str]
_RULES: list[tuple[re.Pattern[str], _Replacement]] = [
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (rf"{_FACTOR}0u [*/%] {_PRIMARY}", "0u"),
        (rf"{_TERM}{_PRODUCT} (?:\* 0u|% 1u)\b", "0u"),
        (rf" [-+] 0u\b{_END}", ""),
        (rf"{_BEGIN}0u \+ ", ""),
        (r" [*/] 1u\b", ""),
        (rf"{_FACTOR}1u \* ", ""),
        (rf"{_BEGIN}(\d+)u ([-+]) (\d+)u\b{_END}", _folded),
        (rf"{_FACTOR}(\d+)u (\*) (\d+)u\b", _folded),
        (rf"{_TERM}(\d+)u ([/%]) (\d+)u\b", _folded),
        (rf"(?:{_FACTOR}|(?<=[/%] ))\(([\w.]+)\)", r"\1"),
        (rf"{_TERM}\(([\w.]+(?: \* [\w.]+)*)\)(?= \*)", r"\1"),
        (r"\bmin\([^(),]*, 0u\)", "0u"),
        (rf"{_BEGIN}\(([\w. +*/%-]+)\){_END}", r"\1"),
        (r"(?<=\bif )\((\w+) < 1u\)", r"(\1 == 0u)"),
    )
]
_SUSPECT = re.compile(r"\b[01]u [*/%+]|[-+*/%] [01]u\b|\d+u [-+*/%] \d+u|\(\w+ < 1u\)|[-+*/%=,<>(\[] ?\([\w. +*/%-]+\)")
_CONSTANT = re.compile(r"^const (\w+) = .*\n", re.M)


def tidy(code: str) -> str:
    """WGSL without neutral elements, sums and products of plain numbers, and constants that nothing uses."""
    return _without_unused("\n".join(map(_line, code.split("\n"))))


@lru_cache(1 << 16)  # kernels share most of their lines
def _line(line: str) -> str:
    code, slashes, comment = line.partition("//")
    if not _SUSPECT.search(code):
        return line
    before = None
    while before != code:
        before = code
        for pattern, replacement in _RULES:
            code = pattern.sub(replacement, code)
    return code + slashes + comment


def _without_unused(code: str) -> str:
    """The code without constants that are named nowhere else, comments aside."""
    bare = re.sub("//.*", "", code)
    for match in reversed(list(_CONSTANT.finditer(code))):
        if len(list(islice(re.finditer(rf"\b{match[1]}\b", bare), 2))) == 1:
            code = code[: match.start()] + code[match.end() :]
            bare = re.sub("//.*", "", code)
    return code
