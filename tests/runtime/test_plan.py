"""A bundle is data from strangers: what the reader takes is safe to run, and all else is a BadBundle, never a crash."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from junk import DELETE, assert_safe, changed, put

from intaglio.runtime import plan as plans
from intaglio.runtime import plan_file
from intaglio.runtime.errors import BadBundle
from intaglio.runtime.sizes import evaluate_size, workgroups


@pytest.fixture(scope="module")
def data(small_bundle: Path) -> dict[str, Any]:
    return json.loads((small_bundle / "plan.json").read_text())


def read(folder: Path, content: Any) -> plans.Plan:
    """The plan of a bundle whose plan.json holds this text, or this as JSON."""
    text = content if isinstance(content, str) else json.dumps(content)
    (folder / "plan.json").write_text(text)
    return plan_file.read(folder)


def test_the_plan_itself_is_fine(data: dict[str, Any], tmp_path: Path) -> None:
    plan = read(tmp_path, data)
    assert_safe(plan)
    words = {access for kernel in plan.kernels.values() for access in kernel.access}
    assert words == {"read buffer", "write buffer", "read image rgba32float"}
    assert {b.kind for b in plan.buffers} == {"weight", "input", "output", "state"}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "null",
        "[]",
        "7",
        '"plan"',
        "{}",
        "[" * 100_000,
        '{"format":' * 50_000,
        "\x00",
        "\ud800",
        "NaN",
        '{"a": 1e999}',
    ],
    ids=lambda text: text[:8],
)
def test_no_json_of_a_plan(text: str, tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(BadBundle):
        plan_file.read(tmp_path)


def test_no_bundle_at_all(tmp_path: Path) -> None:
    with pytest.raises(BadBundle, match="not a bundle"):
        plan_file.read(tmp_path)
    with pytest.raises(BadBundle, match="not a bundle"):
        plan_file.read(tmp_path / "nothing")
    (tmp_path / "plan.json").mkdir()
    with pytest.raises(BadBundle):
        plan_file.read(tmp_path)


@pytest.mark.parametrize("format", ["intaglio-1", "intaglio-3", None])
def test_another_format_is_refused_in_a_line(format: str | None, data: dict[str, Any], tmp_path: Path) -> None:
    """Whatever else such a plan says: here it is that of another time."""
    with pytest.raises(BadBundle, match=rf"{format}.*intaglio-2; compile the model again: intaglio compile") as error:
        read(tmp_path, {"format": format, "kind": "model", "symbols": {}, "files": {"x": "0" * 64}})
    assert "\n" not in str(error.value) and len(str(error.value)) < 300


@pytest.mark.parametrize("key", ["format", "kind", "needs", "symbols", "files", "kernels", "buffers", "programs"])
def test_every_part_is_required(key: str, data: dict[str, Any], tmp_path: Path) -> None:
    for value in (DELETE, None, 7, [7], {"a": 7}):
        with pytest.raises(BadBundle):
            read(tmp_path, put(data, (key,), value))


STEP = ("programs", "main", "steps", 0)
WEIGHTS = ("files", "weights-00001.safetensors")
HUGE = 10**30

BROKEN: list[tuple[tuple[str | int, ...], Any]] = [
    (("format",), "intaglio-0"),
    (("symbols", "new_tokens"), [1]),
    (("symbols", "new_tokens"), [5, 1]),
    (("symbols", "new_tokens"), [-1, 5]),
    (("symbols", "new_tokens"), [0.5, 5]),
    (("symbols", "new_tokens"), ["1", "5"]),
    (("symbols", "new_tokens"), [1, 2**31]),
    (("symbols", "new_tokens"), [1, True]),
    (("symbols", "new_tokens"), DELETE),
    *(
        (("symbols", "more"), [0, 9, rule])
        for rule in (
            7,
            {"of": ["past"]},
            {"of": ["past"], "per": 0},
            {"of": ["past"], "per": 1.5},
            {"of": "past", "per": 1},
            {"of": ["past"], "per": 1, "and": 1},
            {"of": ["other"], "per": 1},
            {"of": ["more"], "per": 1},
            {"of": ["past+"], "per": 1},
            {"of": [1 << 31, 1 << 31], "per": 1},
        )
    ),
    (("symbols", "more"), [0, 9, {"of": ["past"], "per": 1}, 7]),
    (("symbols", "more"), [0, 1 << 31, {"of": ["past"], "per": 1}]),
    (("symbols", "not a name"), [0, 1]),
    (("symbols",), {f"s{i}": [0, 1] for i in range(20_000)}),
    *(
        (("files", name), {"sha256": "0" * 64, "bytes": 0})
        for name in (
            "../evil",
            "/etc/passwd",
            "a/b",
            "kernels/../../x",
            "..",
            ".",
            "",
            "a\nb",
            "C:\\x",
            "kernels/.x",
            "kernels/variants/x.wgsl",
        )
    ),
    (("files", "x"), 7),
    (("files", "x"), "0" * 64),
    *((("files", "x"), {"sha256": digest, "bytes": 0}) for digest in ("abc", "0" * 63, "G" * 64, 7, None)),
    *((("files", "x"), {"sha256": "0" * 64, "bytes": size}) for size in (-1, 1.0, "1", None, True, HUGE)),
    (("files", "x"), {"sha256": "0" * 64}),
    (("files", "x"), {"sha256": "0" * 64, "bytes": 0, "and": 1}),
    *(((*WEIGHTS, "pieces"), pieces) for pieces in (DELETE, [], ["0" * 64] * 2, ["0"], [7], "0" * 64, {})),
    ((*WEIGHTS, "bytes"), 5 << 20),
    (("buffers", 0, "kind"), "secret"),
    (("buffers", 0, "kind"), []),
    *((("buffers", 0, "bytes"), n) for n in (0, -16, 7, HUGE, 2**28 + 4, 16.0, True, "16", None, [16], DELETE)),
    *(
        (("buffers", 0, "texture"), t)
        for t in ([16], [0, 1], [-16, 1], [16, 1, 1], [16.0, 1], ["16", "1"], [HUGE, 1], [8193, 1], 7)
    ),
    (("buffers", 0, "shape"), 7),
    (("buffers", 0, "shape"), [-1, 8]),
    (("buffers", 0, "shape"), [[8]]),
    (("buffers", 0, "shape"), [1.5]),
    (("buffers", 0, "shape"), [HUGE]),
    (("buffers", 0, "shape"), ["new_tokens-100"]),
    (("buffers", 0, "shape"), ["new_tokens*new_tokens"]),
    (("buffers", 0, "shape"), ["1000000*new_tokens"]),
    (("buffers", 0, "shape"), [""]),
    (("buffers", 0, "shape"), ["new_tokens+"]),
    (("buffers", 0, "shape"), ["T T"]),
    (("buffers", 0, "shape"), ["U"]),
    (("buffers", 0, "shape"), ["__import__('os')"]),
    (("buffers", 0, "shape"), ["9" * 5000]),
    (("buffers", 0, "dtype"), "f128"),
    (("buffers", 0, "dtype"), ""),
    (("buffers", 0, "dtype"), ["f32"]),
    (("buffers", 0, "name"), ""),
    (("buffers", 0, "name"), 7),
    (("buffers", 0, "name"), "rows"),
    (("buffers", 0, "colour"), "red"),
    (("programs", "main"), None),
    (("programs", "main", "inputs"), ["x"]),
    *((("programs", "main", "inputs", "x"), i) for i in (-1, 99, HUGE, "0", 0.0, None, False, [0])),
    (("programs", "main", "inputs", "other"), 0),
    (("programs", "main", "outputs", "y0"), 99),
    (("programs", "main", "steps"), {}),
    (STEP, []),
    (STEP, "abc"),
    (STEP, {}),
    ((*STEP, 0), "no such kernel"),
    ((*STEP, 0), []),
    ((*STEP, 1), []),
    ((*STEP, 1), "012"),
    *(((*STEP, 1, 0), i) for i in (-1, 99, HUGE, "0", 0.0, None, True)),
    ((*STEP, 2), [1, 1]),
    ((*STEP, 2), [1, 1, 1, 1]),
    ((*STEP, 2), 7),
    ((*STEP, 2), "111"),
    *(((*STEP, 2, 0), n) for n in (-1, 65_536, HUGE, 1.0, "1", None, True, [], {})),
    ((*STEP, 2, 0), {"of": ["new_tokens"]}),
    ((*STEP, 2, 0), {"per": 4}),
    ((*STEP, 2, 0), {"of": ["new_tokens"], "per": 4, "and": 1}),
    *(
        ((*STEP, 2, 0), {"of": of, "per": 4})
        for of in (
            "new_tokens",
            7,
            None,
            [["new_tokens"]],
            [-1],
            ["new_tokens-2"],
            ["U"],
            [1.5],
            [HUGE],
            [True],
            {"new_tokens": 1},
        )
    ),
    *(((*STEP, 2, 0), {"of": ["new_tokens"], "per": per}) for per in (0, -1, 1.5, "4", None, True)),
    ((*STEP, 2, 0), {"of": ["10000*new_tokens"], "per": 1}),
    (STEP, ["matmul_8x8_rows16", [0, 1, 2], [1, 1, 1], {}]),
    (("needs",), DELETE),
    (("needs",), {}),
    (("needs", "features"), ["subgroups"]),
    (("needs", "language"), []),
    (("needs", "and"), []),
]


@pytest.mark.parametrize("path, value", BROKEN, ids=lambda x: "deleted" if x is DELETE else str(x)[:40])
def test_broken(path: tuple[str | int, ...], value: Any, data: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(BadBundle) as error:
        read(tmp_path, put(data, path, value))
    assert "\n" not in str(error.value)


def kernel_of(data: dict[str, Any]) -> tuple[str, str]:
    """The place of the first step's kernel."""
    return ("kernels", data["programs"]["main"]["steps"][0][0])


@pytest.mark.parametrize(
    "key, value",
    [
        ("file", "../x"),
        ("file", None),
        ("file", "plan.json"),
        ("file", "weights-00001.safetensors"),
        ("access", "read buffer"),
        ("access", ["read buffer", "write it"]),
        ("access", ["read buffer"] * 9),
        ("access", ["read image rgba32float"] * 5),
        ("access", ["read texture f32"] * 17),
        ("access", ["write texture f32"]),
        ("access", ["write image rgba32uint"]),
        ("access", 7),
        ("access", [7]),
        ("access", ["read buffer", "write buffer"]),
        ("access", []),
        ("needs", ["subgroups"]),
        ("needs", ["magic"]),
        ("needs", "subgroups"),
        ("uniform", 1),
        ("uniform", "yes"),
        ("uniform", None),
        ("entry", "main"),
        ("uniform", DELETE),
        ("access", DELETE),
    ],
)
def test_broken_kernels(key: str, value: Any, data: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(BadBundle):
        read(tmp_path, put(data, (*kernel_of(data), key), value))


def test_no_buffer_is_read_and_written_by_one_step(data: dict[str, Any], tmp_path: Path) -> None:
    for i, (_, buffers, *_) in enumerate(data["programs"]["main"]["steps"]):
        kinds = [bool(data["buffers"][b].get("texture")) for b in buffers]
        for j, b in enumerate(buffers[:-1]):
            if kinds[j] == kinds[-1]:
                with pytest.raises(BadBundle, match="writes what it reads"):
                    read(tmp_path, put(data, ("programs", "main", "steps", i, 1, len(buffers) - 1), b))


def test_no_weight_is_written(data: dict[str, Any], tmp_path: Path) -> None:
    weights = [i for i, b in enumerate(data["buffers"]) if b["kind"] == "weight"]
    for i, (_, buffers, *_) in enumerate(data["programs"]["main"]["steps"]):
        for w in weights:
            with pytest.raises(BadBundle):
                read(tmp_path, put(data, ("programs", "main", "steps", i, 1, len(buffers) - 1), w))


def test_textures_and_buffers_are_not_mixed_up(data: dict[str, Any], tmp_path: Path) -> None:
    """Every binding with every buffer of the other kind."""
    refused = 0
    for i, (_, buffers, *_) in enumerate(data["programs"]["main"]["steps"]):
        for j, b in enumerate(buffers):
            for other, described in enumerate(data["buffers"]):
                if bool(described.get("texture")) != bool(data["buffers"][b].get("texture")):
                    with pytest.raises(BadBundle):
                        read(tmp_path, put(data, ("programs", "main", "steps", i, 1, j), other))
                    refused += 1
    assert refused


@settings(deadline=None, max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(choice=st.data())
def test_what_is_accepted_is_safe(choice: st.DataObject, data: dict[str, Any], tmp_path: Path) -> None:
    """Up to three places of a plan hold junk: it is refused, or still all that the runtime relies on holds."""
    try:
        plan = read(tmp_path, changed(data, choice))
    except BadBundle:
        return
    assert_safe(plan)


# sizes


@pytest.mark.parametrize(
    "size, value",
    [
        (7, 7),
        ("7", 7),
        ("new_tokens", 5),
        ("past+new_tokens", 8),
        ("2*new_tokens-past", 7),
        ("-past+new_tokens", 2),
        ("past+2*new_tokens+10", 23),
        ("new_tokens-1", 4),
        ("1500", 1500),
    ],
)
def test_sizes(size: int | str, value: int) -> None:
    assert evaluate_size(size, {"past": 3, "new_tokens": 5}) == value


@pytest.mark.parametrize("size", ["", "+", "T+", "T T", "T*2", "2**T", "(T)", "T/2", " T", "T\n", "2*", "U", "T+U"])
def test_malformed_sizes(size: str) -> None:
    with pytest.raises(BadBundle):
        evaluate_size(size, {"past": 3, "new_tokens": 5})


@pytest.mark.parametrize(
    "of, per, groups",
    [
        (["new_tokens"], 1, 5),
        (["new_tokens"], 5, 1),
        (["new_tokens"], 4, 2),
        (["new_tokens", 384], 64, 30),
        ([0], 4, 0),
    ],
)
def test_workgroups(of: list, per: int, groups: int) -> None:
    assert workgroups(({"of": of, "per": per}, 1, 1), {"new_tokens": 5}) == (groups, 1, 1)
