"""Scratch memory: values share slots, and never at the same time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intaglio.codegen.memory import Slots, Use


@st.composite
def programs(draw: st.DrawFn) -> tuple[list[Use], dict[str, int]]:
    """Steps that read what some step before wrote, and now and then something that takes no scratch memory."""
    steps: list[Use] = []
    values: list[str] = []
    for i in range(draw(st.integers(1, 15))):
        reads = draw(st.lists(st.sampled_from([*values, "input"]), max_size=3))
        again = draw(st.lists(st.sampled_from(values), max_size=1)) if values and draw(st.booleans()) else []
        writes = [v for v in again if v not in reads] or [f"{i}.{j}" for j in range(draw(st.integers(1, 2)))]
        steps.append(Use(tuple(reads), tuple(writes)))
        values += [v for v in writes if v not in values]
    return steps, {v: draw(st.integers(1, 64)) * 16 for v in values}


def lifetime(value: str, steps: list[Use]) -> tuple[int, int]:
    used = [i for i, step in enumerate(steps) if value in step.reads or value in step.writes]
    return used[0], used[-1]


def check(slots: dict[str, int], pool: Slots, steps: list[Use], sizes: dict[str, int]) -> None:
    """A slot for every value, large enough, and another one for values that live, or are touched, at the same time."""
    assert slots.keys() == sizes.keys()
    for value, slot in slots.items():
        assert 0 <= slot < len(pool.sizes) and sizes[value] <= pool.sizes[slot]
        for other in slots:
            if other < value and slots[other] == slot:
                (first, last), (from_, to) = lifetime(value, steps), lifetime(other, steps)
                assert last < from_ or to < first, (value, other)
    for step in steps:
        touched = {slots[v] for v in {*step.reads, *step.writes} if v in slots}
        assert len(touched) == len({v for v in {*step.reads, *step.writes} if v in slots})


@given(programs())
def test_values_that_live_at_the_same_time_have_their_own_slots(program: tuple[list[Use], dict[str, int]]) -> None:
    steps, sizes = program
    pool = Slots()
    check(pool.assign(steps, sizes), pool, steps, sizes)
    assert sum(pool.sizes) <= sum(sizes.values())


@given(st.lists(programs(), min_size=2, max_size=3))
def test_programs_share_a_pool(several: list[tuple[list[Use], dict[str, int]]]) -> None:
    """What a later program needs may make slots larger; those of an earlier one stay where they are."""
    pool = Slots()
    done = [(pool.assign(steps, sizes), steps, sizes) for steps, sizes in several]
    for slots, steps, sizes in done:
        check(slots, pool, steps, sizes)


@pytest.mark.parametrize("length", [2, 3, 50])
def test_a_chain_takes_two_slots(length: int) -> None:
    steps = [Use((f"v{i - 1}",), (f"v{i}",)) for i in range(length)]
    pool = Slots()
    pool.assign(steps, {f"v{i}": 16 for i in range(length)})
    assert pool.sizes == [16, 16]


def test_a_value_that_nobody_reads_frees_its_slot() -> None:
    steps = [Use((), ("a",)), Use((), ("b",)), Use((), ("c",))]
    pool = Slots()
    pool.assign(steps, {"a": 16, "b": 32, "c": 16})
    assert pool.sizes == [32]


def test_the_smallest_slot_that_fits_is_taken() -> None:
    steps = [Use((), ("small", "large")), Use(("small", "large"), ()), Use((), ("x",))]
    pool = Slots()
    assert pool.assign(steps, {"small": 16, "large": 64, "x": 16})["x"] == 0
    assert pool.sizes == [16, 64]
