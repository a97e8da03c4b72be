"""The Tint checker finds what naga lets through; without this, a silent checker would look like good shaders."""

from __future__ import annotations

from pathlib import Path

import pytest

import tint

BINDINGS = """\
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
"""

GOOD = """
var<workgroup> tile: array<f32, 64>;

@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) lane: u32) {
    tile[lane] = x[lane];
    workgroupBarrier();
    y[lane] = tile[63u - lane];
}
"""

RETURN_BEFORE_BARRIER = GOOD.replace("workgroupBarrier", "if x[lane] < 0.0 { return; }\n    workgroupBarrier")

MINUS_INFINITY = """
@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) lane: u32) {
    y[lane] = max(x[lane], bitcast<f32>(0xff800000u));
}
"""

SUBGROUP = """
@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) lane: u32) {
    y[lane] = subgroupAdd(x[lane]);
}
"""

HALF = """\
enable f16;
@group(0) @binding(0) var<storage, read> x: array<f16>;
@group(0) @binding(1) var<storage, read_write> y: array<f16>;
@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) lane: u32) {
    y[lane] = x[lane];
}
"""


def sum_of(count: int) -> str:
    """A shader with `count` storage bindings: the inputs and their sum."""
    names = [f"x{i}" for i in range(count - 1)]
    inputs = [f"@group(0) @binding({i + 1}) var<storage, read> {name}: array<f32>;" for i, name in enumerate(names)]
    return "\n".join(
        [
            "@group(0) @binding(0) var<storage, read_write> y: array<f32>;",
            *inputs,
            "@compute @workgroup_size(64)",
            "fn main(@builtin(local_invocation_index) lane: u32) {",
            "    y[lane] = " + " + ".join(f"{name}[lane]" for name in names) + ";",
            "}",
        ]
    )


def sized(workgroup: int = 64, tile: int = 64) -> str:
    """GOOD with another workgroup size and number of floats of workgroup memory."""
    return BINDINGS + GOOD.replace("size(64)", f"size({workgroup})").replace("<f32, 64>", f"<f32, {tile}>")


@pytest.fixture
def errors(tmp_path):
    def errors_of(text: str, features: tuple[str, ...] = ()) -> list[str]:
        path = tmp_path / "kernel.wgsl"
        path.write_text(text)
        return tint.check([path], features)[path]

    return errors_of


@pytest.mark.parametrize(
    "text",
    [BINDINGS + GOOD, sum_of(8), sized(workgroup=256), sized(tile=4096)],
    ids=["barrier", "8 bindings", "256 invocations", "16 KiB"],
)
def test_passes(errors, text):
    assert errors(text) == []


@pytest.mark.parametrize(
    "text, message",
    [
        (BINDINGS + RETURN_BEFORE_BARRIER, "must only be called from uniform control flow"),
        (BINDINGS + MINUS_INFINITY, "cannot be represented as 'f32'"),
        (BINDINGS + GOOD.replace("tile[lane] = x[lane];", "tile[lane] = x[lane]"), "expected ';'"),
        (BINDINGS + GOOD.replace("x[lane]", "z[lane]"), "unresolved value 'z'"),
        (BINDINGS + SUBGROUP, "subgroups"),
        (HALF, "f16"),
        (sum_of(9), "storage buffers (9)"),
        (sized(workgroup=512), "exceeds the maximum allowed (256,"),
        (sized(tile=4097), "larger than the maximum allowed (16384 bytes)"),
    ],
    ids=[
        "return before a barrier",
        "-inf by bitcast",
        "syntax",
        "unknown name",
        "no subgroups",
        "no f16",
        "9 bindings",
        "512 invocations",
        "over 16 KiB",
    ],
)
def test_refuses(errors, text, message):
    found = errors(text)
    assert found and message in found[0], found


def test_features_are_granted_on_request(errors):
    assert errors(BINDINGS + SUBGROUP, ("subgroups",)) == []
    assert errors(HALF, ("shader-f16",)) == []


def test_errors_name_the_line(errors):
    assert errors("// header\n" + BINDINGS + GOOD.replace("x[lane]", "z[lane]"))[0].startswith("9:18 ")


def test_checks_many_files_in_one_process(tmp_path: Path):
    paths = [tmp_path / f"{i}.wgsl" for i in range(50)]
    for i, path in enumerate(paths):
        path.write_text(sum_of(9 if i == 7 else 2 + i % 7))
    report = tint.check(paths)
    assert list(report) == paths
    assert [path for path in paths if report[path]] == [paths[7]]


def test_a_missing_file_is_an_error(tmp_path: Path):
    with pytest.raises(RuntimeError, match=r"nothing\.wgsl"):
        tint.check([tmp_path / "nothing.wgsl"])
