"""Engine and session: what they refuse, what they allocate, and what a run costs."""

from __future__ import annotations

import shutil
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import wgpu
from bundles import accept, whole_plan
from parity import Build, compiled, device, opened

from intaglio.compiler.ir.dims import Symbol, dim
from intaglio.compiler.ir.values import known
from intaglio.runtime import native, warm_up
from intaglio.runtime.contract import ON_DEMAND
from intaglio.runtime.engine import Engine
from intaglio.runtime.errors import BadBundle, DeviceLost
from intaglio.runtime.limits import SLOTS
from intaglio.runtime.session import Session
from intaglio.runtime.tasks.decode import Decoder, Request

P, T = dim(Symbol("past", 0, 99)), dim(Symbol("new_tokens", 1, 40))


def layers() -> Build:
    """Two layers over rows that vary."""
    b = Build()
    b.output(b.Linear(b.Linear(b.input("x", T, 8), b.weight(8, 8)), b.weight(8, 8)))
    return b


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Session:
    """Inputs of every kind, over rows that vary."""
    b = Build()
    x, n, flag = b.input("x", T, 8), b.input("n", T, 1, dtype="i64"), b.input("flag", 1, dtype="bool")
    y = b.Mul(b.Linear(x, b.weight(8, 8)), b.Cast(n, to="f32"))
    return opened(compiled(b.output(b.Where(flag, y, x), b.Add(n, n)), tmp_path_factory.mktemp("b") / "bundle"))


def feeds(rows: int = 3, **changed: Any) -> dict[str, Any]:
    good = {"x": np.ones((rows, 8), np.float32), "n": np.ones((rows, 1), np.int64), "flag": np.array([True])}
    return {k: v for k, v in (good | changed).items() if v is not None}


@pytest.mark.parametrize(
    "changed, message",
    [
        ({"x": None}, "needs the inputs x"),
        ({"x": None, "n": None}, "needs the inputs n, x"),
        ({"z": 1}, "no inputs z"),
        ({"x": np.ones(8)}, r"input x: expected the shape \[new_tokens, 8\], got \[8\]"),
        ({"x": np.ones((3, 7))}, "input x: expected the shape"),
        ({"x": np.ones((3, 8, 1))}, "input x: expected the shape"),
        ({"x": np.ones((4, 8))}, "expected the shape"),
        ({"x": np.ones((0, 8)), "n": np.ones((0, 1), int)}, "new_tokens is 0; this bundle was compiled for 1 to 40"),
        ({"x": np.ones((41, 8)), "n": np.ones((41, 1), int)}, "new_tokens is 41"),
        ({"x": np.full((3, 8), "a")}, "input x: expected f32, got <U1"),
        ({"x": np.full((3, 8), None)}, "input x: expected f32, got object"),
        ({"x": np.ones((3, 8), complex)}, "input x: expected f32, got complex128"),
        ({"n": np.full((3, 1), 0.5)}, "input n: expected i64, got float64"),
        ({"n": np.full((3, 1), 2**31)}, "input n: expected numbers from"),
        ({"n": np.full((3, 1), -(2**40))}, "input n: expected numbers from"),
        ({"flag": np.array([1])}, "input flag: expected bool, got int64"),
    ],
)
def test_inputs_that_are_refused(session: Session, changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        session.run("main", feeds(**changed))


def test_inputs_that_are_taken(session: Session) -> None:
    """Lists, other widths of the same kind, integers for floats, arrays in any order of memory."""
    expected = session.run("main", feeds())["y1"]
    for n in ([[1], [1], [1]], np.ones((3, 1), np.uint8), np.ones((1, 3), np.int32).T, np.ones((3, 1), bool)):
        np.testing.assert_array_equal(session.run("main", feeds(n=n))["y1"], expected)
    x = np.arange(24).reshape(8, 3).T
    as_float = session.run("main", feeds(x=x.astype(np.float32)))["y0"]
    np.testing.assert_array_equal(session.run("main", feeds(x=x))["y0"], as_float)
    np.testing.assert_array_equal(session.run("main", feeds(x=x.astype(np.float64)))["y0"], as_float)
    # what onnx.numpy_helper.to_array gives for types that numpy lacks
    np.testing.assert_array_equal(session.run("main", feeds(x=x.astype(ml_dtypes.bfloat16)))["y0"], as_float)
    for narrow in (ml_dtypes.int4, ml_dtypes.uint4):
        np.testing.assert_array_equal(session.run("main", feeds(n=np.ones((3, 1), narrow)))["y1"], expected)


def test_outputs_have_their_declared_types_and_shapes(session: Session) -> None:
    y = session.run("main", feeds(5, n=np.arange(5)[:, None]))
    assert (y["y0"].dtype, y["y0"].shape) == (np.float32, (5, 8))
    assert y["y1"].dtype == np.int64 and y["y1"].tolist() == [[0], [2], [4], [6], [8]]


@pytest.mark.parametrize("symbols", [{"new_tokens": 0}, {"new_tokens": 41}, {"new_tokens": -1}])
def test_symbols_out_of_range(session: Session, symbols: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="compiled for 1 to 40"):
        session.submit("main", symbols)


def test_symbols_that_are_not_given_are_at_their_lowest(session: Session) -> None:
    session.run("main", feeds(2, n=[[7], [8]]))
    session.write("n", np.array([[3]]))
    session.submit("main", {})
    np.testing.assert_array_equal(
        session.read("y1", {"new_tokens": 2}), [[6], [16]]
    )  # the second row is of the run before


class Counting:
    """Stands before a wgpu object, and counts the calls of its methods."""

    def __init__(self, inner: Any, calls: Counter[str]) -> None:
        self._inner, self._calls = inner, calls

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if name == "queue":
            return Counting(found, self._calls)
        if not callable(found):
            return found

        return count(found, self._calls)


def count(function: Callable[..., Any], calls: Counter[str]) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        calls[function.__name__] += 1
        return function(*args, **kwargs)

    return call


def counter(*extra: Symbol) -> Build:
    """Row P+1 of `rows` becomes row P plus one, plus `extra` symbols that the shader reads too."""
    b = Build()
    rows = b.state("rows", 1, 101, 1)
    bounds = (b.constant(np.array([0])), *(b.constant(known([d], (1,))) for d in (P, P + 1)))
    row = b.Slice(rows, bounds[1], bounds[2], b.constant(np.array([1])))
    b.Write(b.Add(row, b.constant(np.float32(1))), rows, at=P + 1 + sum(map(dim, extra)))
    return b


@pytest.mark.parametrize("count", [1, 2, SLOTS])
def test_several_runs_in_a_submit(tmp_path: Path, count: int) -> None:
    """Each sees its own symbols, and what the runs before it left."""
    session = opened(compiled(counter().output(), tmp_path / "bundle"))
    session.write("rows", np.array([100]), 3)
    read = session.replay("main", [{"past": 3 + i} for i in range(count)], ("rows", 3, count + 1))
    assert read.view(np.float32).tolist() == [100 + i for i in range(count + 1)]


def test_more_symbols_than_fit_256_bytes(tmp_path: Path) -> None:
    extra = [Symbol(f"s{i}", 0, 1) for i in range(70)]
    session = opened(compiled(counter(*extra).output(), tmp_path / "bundle"))
    assert session.plan.block == 512 and session.plan.uniform_bytes == 512 * SLOTS
    read = session.replay("main", [{"past": 0}, {"past": 1, "s69": 1}], ("rows", 0, 4))
    assert read.view(np.float32).tolist() == [0, 1, 0, 2]


def test_runs_that_are_refused(session: Session) -> None:
    with pytest.raises(ValueError, match=r"up to 64 runs .*got 65"):
        session.replay("main", [{"new_tokens": 1}] * 65)
    with pytest.raises(ValueError, match="new_tokens is 41"):
        session.replay("main", [{"new_tokens": 1}, {"new_tokens": 41}])


@pytest.mark.parametrize("when", ["submit", "begin_map", "wait_for", "mapped_words", "end_map"])
@pytest.mark.parametrize("done", [False, True])
def test_an_interrupted_readback_does_not_spoil_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str, done: bool
) -> None:
    """Before or after a call into wgpu, with another readback in flight."""
    session = opened(compiled(counter().output(), tmp_path / "bundle"))
    plain = getattr(native, when)

    def interrupted(*arguments: Any) -> None:
        if done:
            plain(*arguments)
        raise KeyboardInterrupt

    before = session.launch("main", [{"past": 0}], ("rows", 0, 2))
    with monkeypatch.context() as patch:
        patch.setattr(native, when, interrupted)
        with pytest.raises(KeyboardInterrupt):
            session.submit("main", {"past": 1}, ("rows", 0, 3))
    assert before.words().view(np.float32).tolist() == [0, 1]
    for past in 1, 2, 3:
        read = session.submit("main", {"past": past}, ("rows", 0, past + 2))
        assert read.view(np.float32).tolist() == list(range(past + 2))
    assert session.allocated == session.plan.session_bytes


def test_a_submit_follows_before_the_words_of_the_last_are_read(
    whisper_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each but the last has a successor in flight while the host waits for it."""
    session = opened(whisper_bundle)
    order: list[tuple[str, int]] = []
    submit, wait_for = native.submit, native.wait_for

    def submitting(*arguments: Any) -> int:
        order.append(("submit", number := submit(*arguments)))
        return number

    def waiting(device: Any, number: int) -> None:
        order.append(("wait", number))
        wait_for(device, number)

    monkeypatch.setattr(native, "submit", submitting)
    monkeypatch.setattr(native, "wait_for", waiting)
    decoder = Decoder(session, 16, 16, budget=1.0)
    tokens = decoder.tokens([1, 2, 3], Request({"begin": 3}, limit=13, pace=2))
    assert [len(some) for some in tokens] == [1] + [2] * 6
    first = order[2][1]
    expected = [("submit", first - 1), ("wait", first - 1), ("submit", first)]
    for number in range(first, first + 5):
        expected += [("submit", number + 1), ("wait", number)]
    assert order == [*expected, ("wait", first + 5)]


def test_words_of_runs_in_flight(tmp_path: Path) -> None:
    """Each launch has its own uniform blocks and words, in whatever order they are read; the last two can be."""
    session = opened(compiled(counter().output(), tmp_path / "bundle"))
    flights = [
        session.launch("main", [{"past": 2 * i}, {"past": 2 * i + 1}], ("rows", 0, 2 * i + 3)) for i in range(20)
    ]
    for i in 19, 18:
        assert flights[i].words().view(np.float32).tolist() == list(range(2 * i + 3))
    for i in 19, 17, 0:
        with pytest.raises(LookupError):
            flights[i].words()


def test_a_map_may_end_after_the_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another thread that waits for the device calls back, a little later."""
    session = opened(compiled(counter().output(), tmp_path / "bundle"))
    late, has_ended = iter([False] * 3), native.has_ended
    monkeypatch.setattr(native, "has_ended", lambda number: next(late, True) and has_ended(number))
    assert session.submit("main", {"past": 0}, ("rows", 1, 1)).view(np.float32).tolist() == [1]
    assert next(late, None) is None


def test_a_map_that_fails_is_a_lost_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session = opened(compiled(counter().output(), tmp_path / "bundle"))
    monkeypatch.setattr(native, "mapped_words", lambda *_: None)
    with pytest.raises(DeviceLost, match="load the bundle again"):
        session.submit("main", {"past": 0}, ("rows", 1, 1))


def test_a_token_costs_one_uniform_write_one_submit_and_one_small_readback(
    whisper_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And nothing is allocated, and no bind group made, after load."""
    session = opened(whisper_bundle)
    calls: Counter[str] = Counter()
    monkeypatch.setattr(session, "device", Counting(session.device, calls))
    for name in ("submit", "wait_for", "begin_map", "mapped_words", "end_map"):
        monkeypatch.setattr(native, name, count(getattr(native, name), calls))
    for name in ("create_buffer", "map_sync", "map_async"):
        owner = wgpu.GPUDevice if name == "create_buffer" else wgpu.GPUBuffer
        monkeypatch.setattr(owner, name, count(getattr(owner, name), calls))
    once = {"submit", "wait_for", "begin_map", "mapped_words", "end_map", "write_buffer", "create_command_encoder"}
    for position in range(3, 8):
        calls.clear()
        token = session.submit("step", {"past": position, "begin": 3}, ("tokens", position + 1, 1))
        assert token.shape == (1,) and token.dtype == np.int32
        assert calls == dict.fromkeys(once, 1)
    calls.clear()
    tokens = session.replay("step", [{"past": p, "begin": 3} for p in range(8, 12)], ("tokens", 9, 4))
    assert tokens.shape == (4,) and calls == dict.fromkeys(once, 1)


@pytest.fixture(scope="module")
def whisper_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import intaglio

    fixture = Path(__file__).parents[1] / "fixtures" / "whisper-merged-18"
    return intaglio.compile(fixture, tmp_path_factory.mktemp("whisper") / "bundle").folder


def test_what_is_allocated_is_what_the_plan_says(whisper_bundle: Path) -> None:
    """Counted where wgpu is asked for it: weights once, and the same again for every session."""
    plan = whole_plan(whisper_bundle)
    sizes: list[int] = []
    shared = device()

    class Weighing:
        """The device, and a list of what it was asked for, without the words that waits read back."""

        def create_buffer(self, **how: Any) -> wgpu.GPUBuffer:
            if how["usage"] != wgpu.BufferUsage.COPY_SRC:
                sizes.append(how["size"])
            return shared.create_buffer(**how)

        def create_texture(self, **how: Any) -> wgpu.GPUTexture:
            width, height, _ = how["size"]
            sizes.append(width * height * 16)
            return shared.create_texture(**how)

        def __getattr__(self, name: str) -> Any:
            return getattr(shared, name)

    engine = Engine(whisper_bundle, plan, device=Weighing())
    used = engine.plan.in_use.values()
    weights = [b for b in used if b.kind == "weight"]
    assert sum(sizes) == plan.engine_bytes == engine.allocated > 0 and len(sizes) == len(weights)
    for _ in range(2):
        sizes.clear()
        session = engine.session()
        assert sum(sizes) == plan.session_bytes == session.allocated
        rest = len(used) - len(weights)
        assert len(sizes) == rest + 3, "the uniform blocks, and two buffers that readbacks go through"
    assert plan.bytes == plan.engine_bytes + plan.session_bytes


def test_states_persist_between_runs(tmp_path: Path) -> None:
    """Rows that are written come back in later runs, and two sessions of an engine do not share them."""
    b = Build()
    rows = b.Write(b.input("x", 1, T, 8), b.state("rows", 1, 140, 8), at=P)
    bundle = compiled(b.output(b.Neg(rows)), tmp_path / "bundle")
    first = opened(bundle)
    second = first.engine.session()
    random = np.random.default_rng(0)
    held = np.zeros((1, 0, 8), np.float32)
    for count in (3, 1, 5):
        x = random.standard_normal((1, count, 8)).astype(np.float32)
        y = first.run("main", {"x": x}, {"past": held.shape[1]})["y0"]
        held = np.concatenate([held, x], axis=1)
        np.testing.assert_array_equal(y, -held)
    np.testing.assert_array_equal(first.read("rows", {})[:, :9], held)
    assert not second.read("rows", {}).any(), "states begin as zeros"


@pytest.mark.parametrize("rows", [1, 2, 7, 8, 9, 1023, 1024, 1025, 3000])
def test_textures_are_filled_and_read_in_part(rows: int, tmp_path: Path) -> None:
    """Rows of a texture hold 2048 vec4s, 1024 of the rows here: sizes around that, and far from it."""
    varies = dim(Symbol("N", 1, 3000))
    b = Build()
    y = b.Linear(b.input("x", varies, 8), b.weight(8, 8))
    z = b.Linear(y, b.weight(8, 8))
    session = opened(compiled(b.output(y, b.Linear(z, b.weight(8, 8))), tmp_path / "bundle"))
    plan = session.plan
    assert [b.texture for b in plan.buffers if b.name in ("x", "y0")] == [(2048, 3)] * 2
    weights = [v.const for v in b.graph.values() if v.const is not None]
    x = np.random.default_rng(rows).standard_normal((rows, 8)).astype(np.float32)
    actual = session.run("main", {"x": x})
    np.testing.assert_allclose(actual["y0"], x @ weights[0].T, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(actual["y1"], x @ weights[0].T @ weights[1].T @ weights[2].T, rtol=1e-4, atol=1e-4)


def test_a_run_is_not_disturbed_by_a_longer_one_before(tmp_path: Path) -> None:
    session = opened(compiled(layers().graph, tmp_path / "bundle"))
    x = np.random.default_rng(0).standard_normal((40, 8)).astype(np.float32)
    alone = session.run("main", {"x": x[:5]})["y0"]
    session.run("main", {"x": x})
    np.testing.assert_array_equal(session.run("main", {"x": x[:5]})["y0"], alone)


def test_parts_of_a_state_can_be_written(tmp_path: Path) -> None:
    b = Build()
    state = b.state("tokens", 1, 10, 1, dtype="i32")
    graph = b.output(b.Write(b.Cast(b.input("x", 1, 1, 1), to="i32"), state, at=P))
    session = opened(compiled(graph, tmp_path / "bundle"))
    session.write("tokens", np.array([5, 6, 7]), 2)
    read = session.submit("main", {"past": 3}, ("tokens", 1, 4))
    assert read.tolist() == [0, 5, 0, 7]


# loading


def broken(whisper_bundle: Path, tmp_path: Path, *names: str) -> Path:
    """The bundle with shaders that no compiler takes, and that are no news to the plan."""
    folder = Path(shutil.copytree(whisper_bundle, tmp_path / "broken"))
    files = {name: folder / kernel.file for name, kernel in whole_plan(folder).kernels.items() if name in names}
    for name, path in files.items():
        path.write_text(f"fn {name}( {{")
    accept(folder, *files.values())
    return folder


@pytest.mark.parametrize("which", [[0], [-1], [5], [2, 7, -1], [9, 3]])
def test_the_first_shader_that_is_refused_is_named(whisper_bundle: Path, tmp_path: Path, which: list[int]) -> None:
    """However many are compiled at once."""
    names = list(opened(whisper_bundle).engine.pipelines)  # with the variants for this adapter
    wrong = [names[i] for i in which]
    folder = broken(whisper_bundle, tmp_path, *wrong)
    first = min(wrong, key=names.index)
    with pytest.raises(BadBundle, match=rf"compiler refuses kernels/(variants/)?{first}\.wgsl: .*error: "):
        opened(folder)


@pytest.mark.parametrize("when", ["weights", "pipelines"])
def test_an_interrupted_load_leaves_nothing_running(whisper_bundle: Path, when: str) -> None:
    def interrupt(what: str, done: int, total: int) -> None:
        if what == when:
            raise KeyboardInterrupt

    before = set(threading.enumerate())
    with pytest.raises(KeyboardInterrupt):
        Engine(whisper_bundle, whole_plan(whisper_bundle), interrupt, device()).session()
    assert set(threading.enumerate()) <= before


def test_loading_warms_every_step_and_runs_none(whisper_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grids: list[tuple[int, ...]] = []
    plain = native._dispatch
    monkeypatch.setattr(warm_up, "_HELPERS", 0)
    monkeypatch.setattr(native, "_dispatch", lambda pass_, *grid: (grids.append(grid), plain(pass_, *grid)))
    session = opened(whisper_bundle)
    programs = session.plan.programs.items()
    assert grids == [(0, 1, 1)] * sum(len(p.steps) for name, p in programs if name not in ON_DEMAND)


@pytest.mark.parametrize("grid", [(1 << 20, 1, 1), (1, 1 << 16, 1)])
def test_a_dispatch_that_wgpu_refuses(whisper_bundle: Path, grid: tuple[int, int, int]) -> None:
    """Its methods are passed by, its checks are not."""
    session = opened(whisper_bundle)
    dispatches = session._programs["step"].at({"past": 0})
    dispatches[3] = replace(dispatches[3], grid=grid, varies=False)
    with pytest.raises(wgpu.GPUValidationError, match="dispatch group size"):
        session.submit("step", {})
