"""designs.json is data from strangers too: what is accepted fits the plan, and all else is a BadBundle."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from bundles import accept, whole_plan
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from junk import DELETE, assert_safe, changed, put
from parity import Build, compiled

from intaglio.compiler.ir.dims import Symbol, dim
from intaglio.compiler.ir.graph import Graph
from intaglio.runtime import designs_file, plan_file
from intaglio.runtime.errors import BadBundle
from intaglio.runtime.plan import Plan
from intaglio.runtime.tuning import of_class


@pytest.fixture
def mine(small_bundle: Path, tmp_path: Path) -> Path:
    """A bundle to break."""
    return Path(shutil.copytree(small_bundle, tmp_path / "mine"))


@pytest.fixture(scope="module")
def data(small_bundle: Path) -> dict[str, Any]:
    return json.loads((small_bundle / designs_file.FILE).read_text())


def read(folder: Path, content: Any) -> Plan:
    """The whole plan of a bundle whose designs.json holds this text, or this as JSON, and whose plan lists it."""
    path = folder / designs_file.FILE
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    accept(folder, path)
    return whole_plan(folder)


def test_the_file_itself_is_fine(data: dict[str, Any], small_bundle: Path) -> None:
    plan, whole = plan_file.read(small_bundle), whole_plan(small_bundle)
    assert_safe(whole)
    assert plan.kernels.keys() < whole.kernels.keys() and plan.files.keys() < whole.files.keys()
    (alternatives,) = whole.alternatives.values()
    assert alternatives.problem == "matmul_few new_tokensx8x8" and alternatives.variant not in alternatives.others


def test_a_plan_without_it(mine: Path) -> None:
    (mine / designs_file.FILE).unlink()
    with pytest.raises(BadBundle, match=r"designs\.json is missing"):
        whole_plan(mine)


def test_a_file_that_was_changed(mine: Path) -> None:
    path = mine / designs_file.FILE
    path.write_text(path.read_text() + " ")
    with pytest.raises(BadBundle, match="its hash differs"):
        whole_plan(mine)


@pytest.mark.parametrize("text", ["", "{", "null", "[]", "7", "{}", "[" * 100_000, "\x00", "NaN"], ids=lambda t: t[:8])
def test_files_that_are_not_designs(text: str, mine: Path) -> None:
    with pytest.raises(BadBundle) as error:
        read(mine, text)
    assert "\n" not in str(error.value)


PARTS = ["format", "files", "kernels", "scratch", "alternatives", "steps", "storages", "classes", "profiles", "tunings"]


@pytest.mark.parametrize("key", PARTS)
def test_every_part_is_needed(key: str, data: dict[str, Any], mine: Path) -> None:
    assert data.keys() == set(PARTS)
    for value in (DELETE, None, 7, [7], {"a": 7}):
        with pytest.raises(BadBundle):
            read(mine, put(data, (key,), value))


EACH = ("alternatives", 0)
OTHER = (*EACH, "others", "rows4")
PART = (*OTHER, 0)
KERNEL = ("kernels", "matmul_8x8_rows4")
HUGE = 10**30

BROKEN: list[tuple[tuple[str | int, ...], Any]] = [
    (("format",), "intaglio-designs-0"),
    *((EACH, value) for value in (7, "rows8", [], {}, {"problem": "a", "variant": "b"}, [["problem", "a"]])),
    *(((*EACH, key), value) for key in ("problem", "variant") for value in (DELETE, None, 7, [])),
    *(((*EACH, "others"), value) for value in (DELETE, None, 7, "rows4", [], ["rows4"], {"rows4": None})),
    ((*EACH, "and"), 1),
    *((OTHER, value) for value in ([], {}, "ab", ["matmul_8x8_rows4"], [["matmul_8x8_rows4", [1, 1, 1], {}]])),
    *(((*PART, 0), value) for value in ("no such kernel", "../matmul_8x8_rows4", [], {}, 0, None)),
    ((*PART, 0), "elementwise_greater"),  # whose bindings are others
    *(((*PART, 1), value) for value in ([], [0, 1], 7, "012", None, {"0": 1})),
    *(((*PART, 1, 0), value) for value in (-1, 99, HUGE, "scratch 0", "buffer 0", "buffer 99", "buffer x", "", 1.0)),
    *(((*PART, 2), grid) for grid in ([1, 1], 7, "111", None, {"0": 1})),
    *(
        ((*PART, 2, 0), n)
        for n in (-1, 65_536, HUGE, 1.0, "1", True, {"of": ["U"], "per": 1}, {"of": [HUGE], "per": 1})
    ),
    *((("steps", "main"), value) for value in (DELETE, None, {}, [], [0], [0] * 99, "0")),
    (("steps", "other"), []),
    *((("steps", "main", 0), value) for value in (-1, 99, HUGE, "0", 0.0, True, [0])),
    *((KERNEL, value) for value in (None, 7, [], {})),
    ((*KERNEL, "file"), "plan.json"),
    ((*KERNEL, "file"), "kernels/elementwise_greater.wgsl"),  # a file of the plan
    ((*KERNEL, "file"), "kernels/variants/none.wgsl"),
    ((*KERNEL, "access"), ["read buffer"] * 3),
    ((*KERNEL, "needs"), ["magic"]),
    (
        ("kernels", "elementwise_greater"),
        {"file": "kernels/variants/matmul_8x8_rows4.wgsl", "access": [], "uniform": True},
    ),
    *(
        (("files", name), {"sha256": "0" * 64, "bytes": 0})
        for name in ("x", "../evil", "kernels/x.wgsl", "kernels/variants/../x", "kernels/variants/.x", "plan.json")
    ),
    *(
        (("files", "kernels/variants/x.wgsl"), file)
        for file in (7, "0" * 64, {"sha256": "0", "bytes": 0}, {"sha256": "0" * 64, "bytes": -1}, {"sha256": "0" * 64})
    ),
    *((("scratch",), value) for value in (7, ["4"], [-4], [3], [0], [HUGE])),
    *((("classes",), value) for value in ({"amd": []}, {"amd": {"vendors": ["4098"]}}, {"amd": {"colour": "red"}})),
    *((("profiles",), value) for value in ({"amd": []}, {"amd": {"matmul 8": 7}})),
    *(
        (("profiles",), {"amd": {"matmul 8": {"variants": ["a", "b"], "of": "new_tokens", "above": [8]} | broken}})
        for broken in ({"of": "U"}, {"above": []}, {"above": ["8"]}, {"variants": ["a"]}, {"variants": 7}, {"more": 1})
    ),
    *((("tunings",), value) for value in ([{}], [7], [{"device": "a", "driver": "b", "variants": {"c": 1}}])),
]


@pytest.mark.parametrize("path, value", BROKEN, ids=lambda x: "deleted" if x is DELETE else str(x)[:40])
def test_broken(path: tuple[str | int, ...], value: Any, data: dict[str, Any], mine: Path) -> None:
    with pytest.raises(BadBundle) as error:
        read(mine, put(data, path, value))
    assert "\n" not in str(error.value)


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(choice=st.data())
def test_what_is_accepted_is_safe(choice: st.DataObject, data: dict[str, Any], mine: Path) -> None:
    """Up to three places hold junk: it is refused, or still all that the runtime relies on holds."""
    try:
        whole = read(mine, changed(data, choice))
    except BadBundle:
        return
    assert_safe(whole)


def attention() -> Graph:
    past = dim(Symbol("past", 0, 15))
    b = Build()
    x = b.input("x", 1, 1, 16)
    keys = b.Write(b.Linear(x, b.weight(16, 16)), b.state("keys", 1, 2, 16, 8), at=past)
    return b.output(b.Attention(x, keys, keys, heads=2, kv_heads=2, scale=0.3, past=past))


@pytest.fixture(scope="module")
def with_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle whose caches are textures in the plan, and buffers on some classes of adapters."""
    return compiled(attention(), tmp_path_factory.mktemp("cache") / "bundle")


def test_a_class_has_its_storage(with_cache: Path) -> None:
    plan = whole_plan(with_cache)
    (state,) = plan.storages[0].states
    assert plan.buffers[state].texture and of_class(plan, "cpu").buffers[state].texture
    stored = of_class(plan, "amd")
    assert (stored.buffers[state].texture, stored.buffers[state].format, stored.buffers[state].bytes) == ((), "", 1024)
    bound = [d.kernel for d in stored.possible if state in d.buffers]
    assert bound and all("_in_buffers_" in kernel for kernel in bound)
    assert not any("_in_buffers_" in name for name in of_class(plan, "mobile").used)
    assert not plan.stored(plan.storages[0]).alternatives.keys() & replace(plan, storages=()).alternatives.keys()


def test_a_class_stores_f32_caches_in_f16(tmp_path: Path) -> None:
    """Half of the bytes there, and only there."""
    plan = whole_plan(compiled(attention(), tmp_path / "bundle", half_caches=True))
    (state,) = plan.storages[0].states
    stored = of_class(plan, "amd")
    cache = stored.buffers[state]
    assert (cache.dtype, cache.texture, cache.format, cache.bytes) == ("f32", (), "rgba16float", 512)
    assert stored.rounded and not of_class(plan, "mobile").rounded and not of_class(plan, "cpu").rounded
    unrounded = of_class(whole_plan(compiled(attention(), tmp_path / "f32")), "amd")
    assert unrounded.session_bytes - stored.session_bytes == 512


STORAGE = ("storages", 0)
STATE = (*STORAGE, "states", "keys")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        *((STORAGE, value) for value in (None, 7, [], {})),
        *(((*STORAGE, key), value) for key in ("classes", "states", "steps") for value in (DELETE, None, 7, "amd")),
        ((*STORAGE, "states"), {}),  # then shaders of buffers bind a texture
        ((*STORAGE, "states", "values"), {"bytes": 1024}),  # no such state
        ((*STORAGE, "states", "x"), {"bytes": 64}),  # an input
        *(((*STATE, "bytes"), value) for value in (DELETE, None, "1", 0, -4, 4, 2, 10**30)),
        *(((*STATE, "format"), value) for value in (7, "rgba32float", "f16", "rgba32uint")),
        *(((*STORAGE, "steps", "main"), value) for value in (DELETE, [], [None], [99, 99], [-1, -1], "00", 0)),
        ((*STORAGE, "steps", "main"), [0, 0]),  # the alternatives of another step
        ((*STORAGE, "steps", "main"), [None, None]),  # shaders of textures would bind buffers
    ],
)
def test_broken_storages(path: tuple[str | int, ...], value: Any, with_cache: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(with_cache, tmp_path / "mine"))
    content = json.loads((folder / designs_file.FILE).read_text())
    with pytest.raises(BadBundle) as error:
        read(folder, put(content, path, value))
    assert "\n" not in str(error.value)
