"""What compiling costs, counted, not timed: a model of three times the layers takes three times the work, no more.

Whatever asks for all nodes, or renders a shader, once for each layer makes deep models take the square of that.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import intaglio
from benchmarks import random_llama
from intaglio.codegen import render
from intaglio.compiler.ir.graph import Graph
from intaglio.compiler.passes import mask
from intaglio.compiler.semantics import evaluate

FEW, MANY = 2, 6
SLACK = 1.05  # of a count, for what rounds of a pass end in


@pytest.fixture
def counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[object, str, Callable[..., int]], list[int]]:
    """Compiles models of FEW and of MANY layers; gives what calls of a function come to in each."""

    def count(owner: object, name: str, weigh: Callable[..., int]) -> list[int]:
        totals, function = [], getattr(owner, name)

        def counting(*arguments: Any, **named: Any) -> Any:
            totals[-1] += weigh(*arguments)
            return function(*arguments, **named)

        monkeypatch.setattr(owner, name, counting)
        for layers in (FEW, MANY):
            folder = tmp_path / str(layers)
            folder.mkdir()
            random_llama.write(random_llama.NARROW | {"num_hidden_layers": layers}, folder)
            totals.append(0)
            intaglio.compile(folder, tmp_path / f"{layers}.bundle")
        return totals

    return count


def test_the_whole_graph_is_sorted_as_often_however_many_layers_there_are(counted) -> None:
    few, many = counted(Graph, "_sorted", lambda graph, nodes: nodes is graph._age)
    assert 0 < few == many


def test_nodes_that_are_sorted_grow_no_faster_than_layers(counted) -> None:
    few, many = counted(Graph, "_sorted", lambda graph, nodes: len(nodes))
    assert 0 < many <= few * MANY / FEW * SLACK


def test_nodes_that_are_swept_grow_no_faster_than_layers(counted) -> None:
    few, many = counted(Graph, "_places", lambda graph: len(graph._age))
    assert 0 < many <= few * MANY / FEW * SLACK


def test_values_that_are_evaluated_grow_no_faster_than_layers(counted) -> None:
    few, many = counted(evaluate, "compute", lambda graph, nodes, *rest: len(nodes))
    assert 0 < many <= few * MANY / FEW * SLACK


def test_shaders_are_rendered_once_for_all_layers(counted) -> None:
    few, many = counted(render.Renderer, "_render", lambda *arguments: 1)
    assert 0 < few == many


def test_the_mask_of_all_layers_is_compared_once(counted) -> None:
    assert counted(mask, "_attributes", lambda *arguments: 1) == [1, 1]
