"""How many dispatches a token takes, on every class of adapters."""

from __future__ import annotations

from pathlib import Path

import pytest
from bundles import whole_plan

import intaglio
from benchmarks.dispatches import Count, counts, table
from intaglio.runtime.adapter_class import CLASSES
from intaglio.runtime.plan import Plan

FIXTURES = Path(__file__).parents[1] / "fixtures"
GPUS = tuple(name for name in CLASSES if name != "cpu")


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    return whole_plan(intaglio.compile(FIXTURES / "llama-q4", tmp_path_factory.mktemp("llama") / "bundle").folder)


def step(plan: Plan, **symbols: int) -> list[Count]:
    return [count for count in counts(plan, symbols) if count.program == "step"]


def test_a_layer_takes_five_and_a_greedy_choice_two(llama: Plan) -> None:
    assert step(llama, past=128) == [Count("step", tuple(CLASSES), 2 * 5 + 4, 2, 5)]


def test_many_keys_take_one_more_on_gpus(llama: Plan) -> None:
    assert step(llama, past=400) == [Count("step", ("cpu",), 14, 2, 5), Count("step", GPUS, 2 * 6 + 4, 2, 6)]


def test_many_workgroups_draw_in_two_more_on_gpus(llama: Plan) -> None:
    assert step(llama, past=128, drawn=1) == [Count("step", ("cpu",), 14, 2, 5), Count("step", GPUS, 2 * 5 + 6, 2, 5)]
    text = table(("llama", count) for count in step(llama, past=128, drawn=1))
    assert "| llama | step | cpu | 14 | 2 | 5 | 4 |" in text
    assert f"| llama | step | {', '.join(GPUS)} | 16 | 2 | 5 | 6 |" in text
