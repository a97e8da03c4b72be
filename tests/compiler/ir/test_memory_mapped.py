"""What is made of weights lies in files, as the weights themselves do."""

from __future__ import annotations

import gc
import mmap
import weakref

import ml_dtypes
import numpy as np
import pytest

from intaglio.compiler.ir import memory_mapped
from intaglio.compiler.ir.packed import PackedMatrix, pack, stacked

LARGE = np.random.default_rng(0).standard_normal((768, 512)).astype(np.float32)


@pytest.mark.parametrize("dtype", [np.float32, np.int8, np.float16, ml_dtypes.bfloat16, ml_dtypes.uint4])
@pytest.mark.parametrize("transposed", [False, True])
def test_the_same_numbers_in_a_file(dtype: type, transposed: bool) -> None:
    array = np.tile(3 + LARGE, (4, 1)).astype(dtype)
    array = array.T if transposed else array
    moved = memory_mapped.moved(array)
    assert isinstance(moved.base, mmap.mmap) and moved.dtype == array.dtype
    np.testing.assert_array_equal(moved, array)


def test_small_arrays_stay() -> None:
    assert (
        memory_mapped.moved(LARGE[:100]).base is not None and memory_mapped.moved(array := LARGE[:100].copy()) is array
    )


def test_arrays_share_a_file_until_it_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_mapped, "_SEGMENT", 4 << 20)
    monkeypatch.setattr(memory_mapped, "_segments", weakref.WeakSet())
    arrays = [memory_mapped.moved(LARGE + i) for i in range(4)]
    assert len({id(a.base) for a in arrays}) == 2
    larger = memory_mapped.moved(np.tile(LARGE, (4, 1)))
    for i, array in enumerate(arrays):
        np.testing.assert_array_equal(array, LARGE + i)
    np.testing.assert_array_equal(larger[:768], LARGE)


def test_files_go_with_the_arrays_in_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_mapped, "_segments", weakref.WeakSet())
    array = memory_mapped.moved(LARGE)
    assert len(memory_mapped._segments) == 1
    del array
    gc.collect()
    assert not memory_mapped._segments


@pytest.mark.parametrize("format", ["f16", "q8", "q4"])
def test_what_is_packed_or_stacked_is_moved(format: str) -> None:
    matrix = np.tile(LARGE, (4, 1))
    packed = pack(matrix, format)
    for made in (packed, stacked([packed, packed])):
        assert isinstance(made, PackedMatrix) and isinstance(made.codes.base, mmap.mmap)
    assert isinstance(stacked([matrix, matrix]).base, mmap.mmap)
