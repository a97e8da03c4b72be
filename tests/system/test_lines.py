"""The counter of memory lines: on shaders whose lines can be counted by hand."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from benchmarks.isa.choices import Chosen
from benchmarks.lines import report
from benchmarks.lines.banks import Turns, turns
from benchmarks.lines.count import GRANULES, Lines, Traced, Use, counted, of_weights
from benchmarks.lines.parse import Unreadable, parse
from benchmarks.lines.trace import Access, trace
from intaglio.runtime.plan import Buffer, File, Kernel, Plan

HEAD = """
@group(0) @binding(0) var<storage, read> w: array<vec4f>;
@group(0) @binding(1) var x: texture_2d<f32>;
struct Dims { rows: u32, }
@group(0) @binding(2) var<uniform> dims: Dims;
const STEP = 2u * 4u;  // /* not a comment */
fn load_x(i: u32) -> vec4f { return textureLoad(x, vec2u(i % 8u, i / 8u), 0); }
"""
MAIN = "@compute @workgroup_size(8, 4) fn main(@builtin(local_invocation_id) local: vec3u, @builtin(workgroup_id) g: vec3u)"  # noqa: E501


def loads(body: str, binding: str = "w", group: tuple[int, int, int] = (0, 0, 0)) -> list[Access]:
    shader = parse(f"{HEAD}{MAIN} {{ let lane = local.y * 8u + local.x; {body} }}")
    return [load for load in trace(shader, {"rows": 5}, {"x": 8}, group, (4, 1, 1)) if load.name == binding]


def indices(body: str, **options: object) -> list[list[int]]:
    return [load.index[load.active].tolist() for load in loads(body, **options)]


EVERY = list(range(32))


@pytest.mark.parametrize(
    "body, expected",
    [
        ("let a = w[lane];", [EVERY]),
        ("let a = w[min(lane * STEP, 20u) + 1u];", [[min(i * 8, 20) + 1 for i in EVERY]]),
        ("var i = lane; i += 2u; i = i * 2u; let a = w[i];", [[2 * i + 4 for i in EVERY]]),
        ("if (lane < dims.rows) { let a = w[lane]; }", [[0, 1, 2, 3, 4]]),
        ("if (lane < 2u) { let a = w[0]; } else if (lane < 3u) { let a = w[1]; } else { let a = w[2]; }",
         [[0] * 2, [1], [2] * 29]),
        ("if (lane >= 2u) { return; } let a = w[lane];", [[0, 1]]),
        ("for (var k = lane; k < 64u; k += 32u) { let a = w[k]; }", [EVERY, [i + 32 for i in EVERY]]),
        ("for (var k = 0u; k < 3u; k++) { if (k == 1u) { continue; } let a = w[k]; }", [[0] * 32, [2] * 32]),
        ("for (var k = 0u; k < 3u; k++) { if (k == lane) { break; } let a = w[k]; }", [[0] * 31, [1] * 30, [2] * 29]),
        ("loop { let a = w[lane]; break; }", [EVERY]),
        ("while (true) { let a = w[1]; if (lane > 0u) { break; } }", [[1] * 32, [1], [1], [1]]),
        ("switch lane / 16u { case 0u: { let a = w[lane]; } default: { let a = w[9]; } }", [EVERY[:16], [9] * 16]),
        ("let a = select(w[1], w[2], lane < 4u); let b = w[select(7u, lane, lane < 2u)];",
         [[1] * 32, [2] * 32, [0, 1] + [7] * 30]),
        ("let b = w[0].x; if (b > 0.5) { let a = w[1]; } let c = w[u32(b)];", [[0] * 32, [1] * 32]),
        ("var i = 1u; { let i = 5u; } let a = w[i];", [[1] * 32]),
        ("let s = local.yx; let a = w[s.x + s.y * 0u];", [[i // 8 for i in EVERY]]),
        ("var v = vec2u(lane, 3u); v.y = 4u; let a = w[v.y];", [[4] * 32]),
        ("let a = w[(lane & 1u) ^ (1u << 2u) | (-1 + 2) * 8u];", [[(i & 1) ^ 4 | 8 for i in EVERY]]),
    ],
)  # fmt: skip
def test_indices(body: str, expected: list[list[int]]) -> None:
    assert indices(body) == expected


def test_textures_are_rows_of_texels() -> None:
    assert indices("let a = load_x(lane);", binding="x") == [EVERY]
    assert indices("let a = load_x(g.x * 32u + lane);", binding="x", group=(2, 0, 0)) == [[64 + i for i in EVERY]]


def test_long_loops_run_a_few_times_and_short_ones_to_their_end() -> None:
    long, short = (loads(f"for (var k = 0u; k < {n}u; k++) {{ let a = w[k]; }}") for n in (100, 4))
    assert (len(long), len(short)) == (4, 4)
    assert not long[0].loops[0][0].short and short[0].loops[0][0].short


@pytest.mark.parametrize("text", ["fn main( { }", "@compute fn main() { let a = ; }", "fn main() { a b }"])
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(Unreadable):
        parse(text)


def shares(tmp_path: Path, body: str) -> list[dict[tuple[int, int], float]]:
    """Together and alone, of w, which is a weight."""
    (tmp_path / "a.wgsl").write_text(f"{HEAD}{MAIN} {{ let lane = local.y * 8u + local.x; {body} }}")
    buffers = (Buffer("weight", 1 << 20, "w"), Buffer("scratch", 1 << 20, texture=(8, 8), format="rgba16float"))
    kernel = Kernel("a.wgsl", ("read buffer", "read texture f32"), True)
    plan = Plan("plain", {"rows": (1, 5)}, {"a": kernel}, buffers, {}, {"a.wgsl": File("", 0)})
    (use,) = [use for use in counted(tmp_path, plan, "a", (0, 1), (1, 1, 1)) if use.binding == "w"]
    assert use.weight and of_weights([use]) == {granule: lines.share for granule, lines in use.together.items()}
    return [{granule: lines.share for granule, lines in of.items()} for of in (use.together, use.alone)]


@pytest.mark.parametrize(
    "body, together, alone",
    [  # for lines of 32, 64 and 128 bytes; an element has 16
        ("let a = w[lane];", (1, 1, 1), (1, 1, 1)),
        ("let a = w[lane * 2u];", (1 / 2, 1 / 2, 1 / 2), (1 / 2, 1 / 2, 1 / 2)),
        ("let a = w[lane * 100u];", (1 / 2, 1 / 4, 1 / 8), (1 / 2, 1 / 4, 1 / 8)),
        ("let a = w[lane * 8u]; let b = w[lane * 8u + 1u];", (1, 1 / 2, 1 / 4), (1 / 2, 1 / 4, 1 / 8)),
        ("for (var k = 0u; k < 4u; k++) { let a = w[lane * 8u + k]; }", (1, 1, 1 / 2), (1 / 2, 1 / 4, 1 / 8)),
        ("for (var k = 0u; k < 99u; k++) { let a = w[lane * 99u + k]; }", (1 / 2, 1 / 4, 1 / 8), (1 / 2, 1 / 4, 1 / 8)),
    ],
)
def test_lines_by_hand(tmp_path: Path, body: str, together: tuple[float, ...], alone: tuple[float, ...]) -> None:
    for result, expected in zip(shares(tmp_path, body), (together, alone), strict=True):
        np.testing.assert_allclose([result[32, line] for line in (32, 64, 128)], expected, rtol=0.05)


def test_what_is_wasted_is_named() -> None:
    lines = {granule: Lines(3, 8) if granule == (64, 128) else Lines(1, 1) for granule in GRANULES}
    chosen = Chosen("matvec_8x8", "matvec 8x8", "rows8", (8, 1, 1), (), (), ("cpu", "amd"))
    uses = [Use("w", True, 16, lines, lines), Use("x", False, 16, {}, {})]
    (line,) = report.wasteful([report.Count(chosen, uses, [])])
    assert line.startswith("matvec_8x8 (rows8), of cpu, amd: 38% of the lines of its weights are read, by warps of 64")
    of_cpu = Chosen("a", "a", "a", (8, 1, 1), (), (), ("cpu",))
    assert not report.wasteful([report.Count(of_cpu, uses, [])])


@pytest.mark.parametrize(
    "body, accesses, taken, most",
    [  # a warp reads f32 at once, vec4s a quarter at a time
        ("let a = numbers[lane];", 1, 1, 1),
        ("let a = numbers[7];", 1, 1, 1),
        ("numbers[lane * 2u] = 0.0;", 1, 2, 2),
        ("numbers[lane * 32u] = 0.0;", 1, 32, 32),
        ("numbers[lane * 33u] = 0.0;", 1, 1, 1),
        ("numbers[lane / 4u * 32u] += 1.0;", 2, 16, 8),  # a load and a store
        ("if (lane < 4u) { numbers[lane * 32u] = 0.0; }", 1, 4, 4),
        ("let a = fours[lane].x;", 4, 4, 1),
        ("let a = fours[local.y];", 4, 4, 1),
        ("fours[lane % 4u * 16u + lane / 4u] = vec4f();", 4, 16, 4),
        ("fours[lane % 4u * 18u + lane / 4u] = vec4f();", 4, 4, 1),
        ("halves[lane * 16u] = vec4h();", 2, 32, 16),
    ],
)
def test_banks_by_hand(body: str, accesses: int, taken: int, most: int) -> None:
    arrays = {"numbers": "f32", "fours": "vec4<f32>", "halves": "vec4h"}
    declared = "".join(f"var<workgroup> {name}: array<{type}, 1024>;" for name, type in arrays.items())
    shader = parse(f"{HEAD}{declared}{MAIN} {{ let lane = local.y * 8u + local.x; {body} }}")
    found = defaultdict(list)
    for access in trace(shader, {"rows": 5}, {"x": 8}, (0, 0, 0), (1, 1, 1)):
        found[access.name].append(access)
    (result,) = turns(Traced({}, shader.shared, found))
    assert (result.accesses, result.turns, result.most) == (accesses, taken, most)


def test_conflicts_are_named() -> None:
    chosen = Chosen("matmul_8x8", "matmul 8x8", "tiles64", (8, 1, 1), (), (), ("cpu", "amd"))
    of = [Turns("x_tile", 8, 24, 4), Turns("weight_tile", 8, 8, 1)]
    (line,) = report.conflicting([report.Count(chosen, [], of)])
    assert line == "matmul_8x8 (tiles64), of cpu, amd: an access to x_tile takes 3.0 turns, and up to 4"
