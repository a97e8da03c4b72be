"""Layout: edges lead down, nothing overlaps, what passes a layer has a place in it, and large graphs are quick."""

from __future__ import annotations

import itertools
import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intaglio.page.layout import BEND, FAR, GAP, LAYER, layout


@st.composite
def graphs(draw: st.DrawFn) -> tuple[list[float], list[tuple[int, int]]]:
    count = draw(st.integers(1, 30))
    pairs = [(a, b) for b in range(count) for a in range(b)]
    edges = draw(st.lists(st.sampled_from(pairs), unique=True)) if pairs else []
    return draw(st.lists(st.floats(10, 200), min_size=count, max_size=count)), edges


@given(graphs())
def test_edges_lead_down_and_nothing_overlaps(graph: tuple[list[float], list[tuple[int, int]]]) -> None:
    widths, edges = graph
    made = layout(widths, edges)
    items = [(x, y, w) for (x, y), w in zip(made.nodes, widths, strict=True)]
    for (a, b), path in zip(edges, made.edges, strict=True):
        heights = [made.nodes[a][1], *(y for _, y in path), made.nodes[b][1]]
        assert heights == sorted(set(heights)) and heights[-1] - heights[0] == LAYER * (len(heights) - 1)
        items += [(x, y, BEND) for x, y in path]
    items.sort(key=lambda item: (item[1], item[0]))
    for (x0, y0, w0), (x1, y1, w1) in itertools.pairwise(items):
        assert y0 != y1 or x1 - x0 >= (w0 + w1) / 2 + GAP - 1e-6


def test_a_chain_is_straight() -> None:
    made = layout([50.0, 100.0, 50.0], [(0, 1), (1, 2)])
    assert len({x for x, _ in made.nodes}) == 1


def test_what_waits_stands_by_its_reader() -> None:
    """0 -> 1 -> 2 -> 3, and 4, which only 3 reads... here in an order in which edges lead onward."""
    made = layout([50.0] * 5, [(0, 2), (2, 3), (3, 4), (1, 4)])
    assert made.nodes[1][1] == made.nodes[3][1]


def test_edges_over_many_layers_are_not_routed() -> None:
    chain = [(i, i + 1) for i in range(FAR + 2)]
    made = layout([50.0] * (FAR + 3), [*chain, (0, FAR + 2), (0, FAR)])
    assert made.edges[-2] is None and len(made.edges[-1]) == FAR - 1


@pytest.mark.parametrize("count", [0, 1])
def test_small_graphs(count: int) -> None:
    assert len(layout([50.0] * count, []).nodes) == count


def test_a_large_graph_is_quick() -> None:
    chance = random.Random(0)
    edges = {(i - 1, i) for i in range(1, 3000)} | {(max(0, i - chance.randint(2, 30)), i) for i in range(1, 3000)}
    begin = time.perf_counter()
    layout([150.0] * 3000, sorted(edges))
    assert time.perf_counter() - begin < 15
