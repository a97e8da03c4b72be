"""Tidying: what becomes of each kind of residue, near misses that must stay, and random sums that keep their value."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest

from intaglio.codegen.tidy import tidy

TEMPLATES = Path(__file__).parents[2] / "templates"

SIMPLER = [
    ("x[0u * LANES + lane]", "x[lane]"),
    ("x[0u * load(i, f(j)) + lane]", "x[lane]"),
    ("x[lane + LANES * 0u]", "x[lane]"),
    ("x[(head + 0u) * D4 + 0u];", "x[head * D4];"),
    ("a - (0u * b + c)", "a - c"),
    ("a - 0u * b + c", "a + c"),
    ("array<f32, 1u * LANES>", "array<f32, LANES>"),
    ("let head = workgroup.x * 1u;", "let head = workgroup.x;"),
    ("let last = 1500u - 1u;", "let last = 1499u;"),
    ("if (i < 240000u / 4u) {", "if (i < 60000u) {"),
    ("let at0 = min(row + 0u, 1u - 1u) * K4;", "let at0 = 0u;"),
    ("let t = i / (dims.past + 1u) % 1u;", "let t = 0u;"),
    ("x[w + (k + 0u) * 8u + 3u]", "x[w + k * 8u + 3u]"),
    ("x[((step * 2u + 0u) * 4u + j) * 16u]", "x[(step * 8u + j) * 16u]"),
    ("if (lane < 1u) {", "if (lane == 0u) {"),
    ("for (var k = 0u; k < K4; k += 1u) {", "for (var k = 0u; k < K4; k++) {"),
    ("if (i >= (dims.new_tokens * 8u)) {", "if (i >= dims.new_tokens * 8u) {"),
    ("f(((n * 8u - 8u) + i) % 2048u)", "f((n * 8u - 8u + i) % 2048u)"),
    ("return 1u * 1u;", "return 1u;"),
    ("sum += 4u * 2u * 8u;", "sum += 64u;"),
]
AS_THEY_ARE = [
    "x[10u * LANES + x0u]",
    "let x = a10u + 1u;",
    "let y = x1u * b;",
    "let last = GROUPS - 1u;",
    "let i = j % 1u1 + 11u;",
    "a / 2u * 3u",
    "a % 2u * 4u",
    "a - 3u + 2u",
    "a - 3u - 2u",
    "x * 8u + 3u * y",
    "let x = 3u - 5u;",  # WGSL refuses it, and so it stays to be seen
    "let x = 4294967295u + 1u;",
    "a % 1u1 * b",
    "let x = 0.0 + 1.0 * y;",
    "word >> (i * 4u % 32u)",
    "1u << (token % 32u)",
    "a - (b + c)",
    "key = (255u - digit) << shift;",  # WGSL wants these brackets
    "key = (at + digit) & mask;",
    "a / (b * c) * d",
    "if (seen) {",
    "vec4f(x) * f(y)",
    "let x = a;  // 0u * b + 1u * c",
    "0x10u * a",
    "for (var k = 0u; k < 1u; k++) {",
    "select(1u, 0u, first)",
]


@pytest.mark.parametrize(("code", "expected"), SIMPLER)
def test_simpler(code: str, expected: str) -> None:
    assert tidy(code) == expected


@pytest.mark.parametrize("code", AS_THEY_ARE)
def test_near_misses_stay(code: str) -> None:
    assert tidy(code) == code


class U32(int):
    """A number that wraps around, and divides, as u32 does in WGSL."""

    def __add__(self, other: int) -> U32:
        return U32((int(self) + int(other)) % 2**32)

    def __sub__(self, other: int) -> U32:
        return U32((int(self) - int(other)) % 2**32)

    def __mul__(self, other: int) -> U32:
        return U32((int(self) * int(other)) % 2**32)

    def __truediv__(self, other: int) -> U32:
        return U32(int(self) // int(other))

    def __mod__(self, other: int) -> U32:
        return U32(int(self) % int(other))


def expression(choose: random.Random, depth: int) -> str:
    """A random expression with many zeros and ones."""
    if depth == 0 or choose.random() < 0.2:
        return choose.choice(["a", "b", "c", "0u", "1u", "0u", "1u", "2u", "10u"])
    operator = choose.choice("+-*/%")
    left, right = expression(choose, depth - 1), expression(choose, depth - 1)
    right = right if operator in "+-*" and choose.random() < 0.7 else choose.choice(["1u", "3u", "(a + 1u)"])
    text = f"{left} {operator} {right}"
    return f"({text})" if choose.random() < 0.4 else text


def value(code: str) -> int:
    names = {"a": U32(7), "b": U32(0xFFFF_FFF0), "c": U32(1000), "U32": U32, "f": lambda x: x, "min": min}
    text = re.sub(r"\b(\d+)u\b", r"U32(\1)", code)
    return int(eval(text, names))


def test_random_sums_keep_their_value() -> None:
    choose, changed = random.Random(1), 0
    for _ in range(5_000):
        code = f"f({expression(choose, 4)})"
        tidied = tidy(code)
        assert value(tidied) == value(code), f"{code} became {tidied}"
        changed += tidied != code
    assert changed > 2_500


def test_what_nothing_uses_is_dropped() -> None:
    code = "const A = 1;  // as B, but A is 1\nconst B = A;\nconst C = 2;\nfn main() {\n  f(1 / C, CAB);  // A\n}"
    assert tidy(code) == "const C = 2;\nfn main() {\n  f(1 / C, CAB);  // A\n}"


def test_what_was_tidied_is_tidy() -> None:
    for code, _ in SIMPLER:
        assert tidy(tidy(code)) == tidy(code)


def test_long_lines_are_broken_where_few_brackets_are_open() -> None:
    chain = "fma(vec4f(p3), v3, fma(vec4f(p2), v2, fma(vec4f(p1), v1, p0 * v0)))"
    line = f"    result_of_a_long_name = fma(result_of_a_long_name, vec4f(keep_of_a_long_name), {chain});  // because"
    comment, *code = tidy(line).split("\n")
    assert comment == "    // because"
    assert code == [
        "    result_of_a_long_name = fma(result_of_a_long_name, vec4f(keep_of_a_long_name),",
        f"        {chain});",
    ]
    assigned = (
        f"  tile[{'step * ' * 9}step] = vec4h(part(min(workgroup.x * 32u + 16u + column, GROUPS - 1u), min(b, K4)));"
    )
    assert tidy(assigned).split("\n")[0].endswith("] =")


def test_no_template_breaks_a_line_where_lines_are_tidied_apart() -> None:
    """A line is tidied without looking at its neighbours, so u32 products are not broken into two."""
    for path in TEMPLATES.rglob("*.wgsl*"):
        assert not re.search(r"[-*/%]\n|\n *[*/%] ?[\w(]*\b[01]u\b", path.read_text()), path.name
