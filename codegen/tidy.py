"""Tidies rendered WGSL, so that shaders read as if a person had written them.

It simplifies what templates leave behind, such as `0u * X +`, `+ 0u`, `* 1u` and `1500u - 1u`, and breaks long lines.
It changes only u32 arithmetic, which wraps around exactly. Every rule says in its lookaround where it may apply:
`0u + b` is `b` after `(`, but not after `a - ` or `a * `.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable
from functools import lru_cache
from itertools import islice

_PRIMARY = r"(?:[\w.]*\((?:[^()]|\((?:[^()]|\([^()]*\))*\))*\)|[\w.]+(?:\[[^][]*\])?)"  # a name, number, call or (...)
_PRODUCT = rf"{_PRIMARY}(?: [*/%] {_PRIMARY})*"
_OPEN = r"(?<=[(\[])|(?<=return )|(?<=[^<>][<>] )|(?<=[=,&|] )"  # an expression begins here, not a shift's right
_BEGIN = rf"(?:{_OPEN}|(?<=\+ ))"  # a sum begins here, or a term that is added
_TERM = rf"(?:{_OPEN}|(?<=[-+] ))"  # a product begins here
_FACTOR = rf"(?:{_OPEN}|(?<=[-+*] ))"  # a product begins here, or goes on after `*`
_END = r"(?=[]);,>]| [-+<>=!&|])"  # a term ends here


def _folded(match: re.Match[str]) -> str:
    """Return the result of an operation on two numbers, or the operation itself if the result does not fit u32."""
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
        (rf"{_BEGIN}\(([\w. +*/%-]+)\)(?! (?:<<|>>|[&|] )){_END}", r"\1"),  # shifts and bits take no bare sum
        (r"(?<=\bif )\((\w+) < 1u\)", r"(\1 == 0u)"),
        (r"(?<=\w) \+= 1u(?=[);])", "++"),
    )
]
_SUSPECT = re.compile(
    r"\b[01]u [*/%+]|[-+*/%] [01]u\b|\d+u [-+*/%] \d+u|\(\w+ < 1u\)|\+= 1u|[-+*/%=,<>(\[] ?\([\w. +*/%-]+\)"
)
_CONSTANT = re.compile(r"^const (\w+) = .*\n", re.M)


_WIDTH = 120  # columns
_BREAK = re.compile(r",(?= )| =(?= )| (?=(?:[-+*/]|&&|\|\|) )")


def tidy(code: str) -> str:
    """Return the WGSL code without neutral elements, arithmetic on literals, unused constants and long lines."""
    return _without_unused("\n".join(map(_line, code.split("\n"))))


@lru_cache(1 << 16)  # kernels share most of their lines
def _line(line: str) -> str:
    code, slashes, comment = line.partition("//")
    if not _SUSPECT.search(code):
        return _broken(line)
    before = None
    while before != code:
        before = code
        for pattern, replacement in _RULES:
            code = pattern.sub(replacement, code)
    return _broken(code + slashes + comment)


def _broken(line: str) -> str:
    """Break a long line into several."""
    if len(line) <= _WIDTH:
        return line
    code, slashes, comment = line.partition("//")
    margin = line[: len(line) - len(line.lstrip())]
    if slashes:
        words = textwrap.wrap(comment.strip(), _WIDTH - len(margin) - 3, break_long_words=False, break_on_hyphens=False)
        comments = [f"{margin}// {words}" for words in words]
        return "\n".join([*comments, _broken(code.rstrip())] if code.strip() else comments)
    lines = [code]
    while len(lines[-1]) > _WIDTH and (places := _places(lines[-1])):
        place = min(places, key=lambda at: (places[at], -at))
        lines[-1:] = [lines[-1][:place].rstrip(), f"{margin}    {lines[-1][place:].lstrip()}"]
    return "\n".join(lines)


def _places(code: str) -> dict[int, float]:
    """Return the positions where a line may be broken, with their costs: open brackets, and above all an open index."""
    costs: dict[int, float] = {}
    for match in _BREAK.finditer(code, len(code) - len(code.lstrip()) + 1, _WIDTH):
        before = code[: match.end()]
        brackets = before.count("(") - before.count(")")
        index = before.count("[") - before.count("]")
        costs[match.end()] = 1.5 if match[0] == " =" else brackets + 3 * index
    return costs


def _without_unused(code: str) -> str:
    """Remove the constants that occur nowhere else in the code, apart from comments."""
    bare = re.sub("//.*", "", code)
    for match in reversed(list(_CONSTANT.finditer(code))):
        if len(list(islice(re.finditer(rf"\b{match[1]}\b", bare), 2))) == 1:
            code = code[: match.start()] + code[match.end() :]
            bare = re.sub("//.*", "", code)
    return code
