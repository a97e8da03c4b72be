"""Dimensions against plain integers: whatever an expression says must hold for every value of its symbols."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from intaglio.compiler.ir import dims
from intaglio.compiler.ir.dims import Expr, NotLinear, Symbol, dim

P, T, B = Symbol("P", 0, 4), Symbol("T", 1, 4), Symbol("B", 2, 2)
SYMBOLS = (P, T, B)
LONG, WIDE = Symbol("LONG", 1, 1 << 20), Symbol("WIDE", 1, 1 << 20)
small = st.integers(-6, 6)
values = st.fixed_dictionaries({s.name: st.integers(s.low, s.high) for s in SYMBOLS})


@st.composite
def expressions(draw) -> dims.Dim:
    total = draw(small)
    for symbol in draw(st.lists(st.sampled_from(SYMBOLS), max_size=4)):
        total = total + dim(symbol) * draw(small)
    return total


@st.composite
def derived(draw, depth: int = 2) -> dims.Dim:
    """Sums, products and quotients rounded down, of each other."""
    if not depth:
        return draw(expressions())
    a, b = draw(derived(depth - 1)), draw(derived(depth - 1))
    made = draw(st.sampled_from(("sum", "product", "floor", "ceil")))
    if made in ("floor", "ceil"):
        return (dims.floor if made == "floor" else dims.ceil)(a, draw(st.integers(1, 6))) + b
    return a + b if made == "sum" else a * b


def at(d: dims.Dim, sizes: dict[str, int]) -> int:
    result = dims.substitute(d, sizes)
    assert isinstance(result, int)
    return result


def everywhere() -> list[dict[str, int]]:
    ranges = [range(s.low, s.high + 1) for s in SYMBOLS]
    return [dict(zip("PTB", chosen, strict=True)) for chosen in itertools.product(*ranges)]


@given(expressions(), expressions(), small, values)
def test_arithmetic_is_that_of_integers(a, b, n, sizes):
    x, y = at(a, sizes), at(b, sizes)
    assert at(a + b, sizes) == x + y
    assert at(a - b, sizes) == x - y
    assert at(a * n, sizes) == at(n * a, sizes) == x * n
    assert at(n - a, sizes) == n - x
    assert at(n + a, sizes) == n + x
    assert at(-a, sizes) == -x


@given(expressions(), expressions(), expressions())
def test_equal_expressions_are_equal_objects(a, b, c):
    assert a + b == b + a
    assert (a + b) + c == a + (b + c)
    assert hash(a + b - b) == hash(a)
    assert a + b - b == a
    assert a - a == 0 and isinstance(a - a, int)
    assert a * 2 - a == a
    assert isinstance(a * 0, int)


@given(expressions(), st.integers(-6, 6).filter(bool), values)
def test_division_is_exact_or_refused(a, n, sizes):
    assert a * n // n == a
    try:
        quotient = a // n
    except NotLinear:
        assert isinstance(a, Expr)
        return
    if isinstance(a, Expr):
        assert at(quotient, sizes) * n == at(a, sizes)


@settings(max_examples=50)
@given(derived(), derived(), st.integers(1, 6), values)
def test_products_and_quotients_are_those_of_integers(a, b, n, sizes):
    x, y = at(a, sizes), at(b, sizes)
    assert at(a * b, sizes) == x * y
    assert at(dims.floor(a, n), sizes) == x // n
    assert at(dims.ceil(a, n), sizes) == -(-x // n)


@settings(max_examples=50)
@given(derived(1), derived(1), derived(1))
def test_products_have_a_normal_form(a, b, c):
    assert a * b == b * a
    assert (a * b) * c == a * (b * c)
    assert a * (b + c) == a * b + a * c
    if isinstance(a, Expr) and isinstance(b, Expr):
        assert a * b // b == a


@settings(max_examples=50)
@given(derived(), st.integers(1, 6), small)
def test_quotients_have_a_normal_form(a, n, k):
    assert dims.floor(a + k * n, n) == dims.floor(a, n) + k
    assert dims.floor(a * n, n) == a


@given(st.integers(1, 6), st.integers(1, 6), st.integers(1, 6), small)
def test_a_quotient_of_a_quotient_is_one(c, n, m, k):
    a = dim(LONG) * n * c + dim(WIDE) + k
    assert dims.floor(a * m, n * m) == dims.floor(a, n)
    assert dims.floor(dims.floor(a, n) + k, m) == dims.floor(a + k * n, n * m)


@settings(max_examples=50)
@given(derived())
def test_bounds_of_derived_symbols_hold(a):
    results = [at(a, sizes) for sizes in everywhere()]
    assert dims.low(a) <= min(results) <= max(results) <= dims.high(a)


def test_what_is_left_to_a_multiple_is_bounded():
    n = dim(Symbol("n", 1, 1000))
    rest = dims.ceil(n, 4) * 4 - n
    assert (dims.low(rest), dims.high(rest)) == (0, 3)


def test_symbols_come_after_those_that_they_follow_from():
    n = dim(Symbol("n_n", 1, 1000))
    size = dims.floor(n + 3, 4) * dim(T)
    assert [s.name for s in dims.with_rules(size)] == [
        "T",
        "n_n",
        "floor_n_plus_3_by_4",
        "product_T_floor_n_plus_3_by_4",
    ]
    assert [s.name for s in dims.symbols(size)] == ["T", "n_n"]


@given(expressions(), expressions())
def test_what_is_decided_holds_over_the_whole_range(a, b):
    pairs = [(at(a, sizes), at(b, sizes)) for sizes in everywhere()]
    less, same = dims.less(a, b), dims.same(a, b)
    assert less is None or all((x < y) == less for x, y in pairs)
    assert same is None or all((x == y) == same for x, y in pairs)
    assert dims.low(a) <= min(x for x, _ in pairs)
    assert dims.high(a) >= max(x for x, _ in pairs)


@given(expressions())
def test_bounds_are_reached(a):
    found = [at(a, sizes) for sizes in everywhere()]
    assert (dims.low(a), dims.high(a)) == (min(found), max(found))


@pytest.mark.parametrize(
    "a, b, less, same",
    [
        (dim(P), dim(P) + dim(T), True, False),
        (dim(P), dim(P) + 1, True, False),
        (dim(P) + dim(T), dim(P), False, False),
        (dim(T), 4, None, None),
        (dim(T), 5, True, False),
        (dim(T), 1, False, None),
        (dim(T), dim(T), False, True),
        (dim(P), dim(T), None, None),
        (3, 4, True, False),
        (4, 4, False, True),
        (dim(P), -1, False, False),
    ],
)
def test_comparisons(a, b, less, same):
    assert dims.less(a, b) is less
    assert dims.same(a, b) is same


@pytest.mark.parametrize(
    "compute",
    [
        lambda: dim(P) // dim(T),
        lambda: (dim(P) * dim(T) + 1) // dim(T),
        lambda: (dim(T) + 1) // 2,
        lambda: (dim(T) * 2 + 1) // 2,
        lambda: dim(T) // 0,
        lambda: 12 // dim(T),
    ],
)
def test_a_division_with_a_rest_is_refused(compute):
    with pytest.raises(NotLinear):
        compute()


def test_fractions_are_not_dimensions():
    for fraction in (1.5, np.float32(2)):
        with pytest.raises(TypeError):
            _ = dim(T) + fraction
        with pytest.raises(TypeError):
            _ = dim(T) * fraction


@given(st.lists(st.integers(0, 5), max_size=4), values)
def test_product_is_the_number_of_elements(sizes, chosen):
    shape = (*sizes, dim(T) + 1)
    assert at(dims.product(shape), chosen) == np.prod(sizes, dtype=int) * (chosen["T"] + 1)


@given(expressions(), expressions(), values)
def test_substituting_an_expression(a, b, sizes):
    inner = {**sizes, "T": at(b, sizes)}
    assume(inner["T"] >= 1)
    assert at(dims.substitute(a, {"T": b}), sizes) == at(a, inner)


def test_numpy_integers_are_integers():
    n = np.int64(3)
    for d in (dim(T) + n, n + dim(T), dim(T) * n, n - dim(T)):
        assert isinstance(d, Expr)
        assert all(type(c) is int for _, c in d.terms) and type(d.constant) is int


@pytest.mark.parametrize(
    "d, text",
    [
        (dim(T), "T"),
        (dim(P) + dim(T), "P+T"),
        (dim(T) + dim(P), "P+T"),
        (dim(T) * 2 - 1, "2*T-1"),
        (-dim(T) + 4, "-T+4"),
        (dim(P) - dim(T) * 3, "P-3*T"),
    ],
)
def test_text(d, text):
    assert str(d) == text
