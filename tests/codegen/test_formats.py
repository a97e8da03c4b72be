"""Formats of weights: a row for each, of which the compiler, the kernels and the command line say the same."""

from __future__ import annotations

import argparse

import numpy as np
import pytest

from intaglio.codegen import target
from intaglio.codegen.formats import FORMATS
from intaglio.codegen.kernel import Weight
from intaglio.codegen.weights import kernel_layout_size, to_kernel_layout
from intaglio.commands import compile
from intaglio.compiler.ir.packed import FORMATS as PACKED
from intaglio.compiler.ir.packed import QUANTIZED, STORAGE, pack
from intaglio.compiler.ir.values import TensorType, Value
from intaglio.runtime.limits import TEXELS


def test_every_format_has_a_row() -> None:
    assert list(FORMATS) == ["f32", *PACKED]
    assert set(QUANTIZED) | set(STORAGE) == set(FORMATS)


def test_the_command_line_offers_every_format() -> None:
    """It does not load the compiler, and so lists them itself."""
    parser = argparse.ArgumentParser()
    compile.add_arguments(parser)
    choices = {action.dest: action.choices for action in parser._actions}
    assert choices["quantize"] == list(QUANTIZED)
    assert choices["precision"] == list(STORAGE)


@pytest.mark.parametrize("name", PACKED)
def test_a_texel_holds_as_many_columns_as_its_bits(name: str) -> None:
    matrix = np.random.default_rng(0).uniform(-1, 1, (16, 64)).astype(np.float32)
    weight = Weight(Value("w", TensorType("f32", (16, 64)), pack(matrix, name)), "rows8")
    row, numbers = FORMATS[name], to_kernel_layout(weight)
    assert numbers.size == kernel_layout_size(weight) == 16 * 64 // row.columns * 4
    assert numbers.nbytes * 8 == matrix.size * row.bits == matrix.size // row.columns * TEXELS[row.texture] * 8


def test_limits_are_the_defaults_of_webgpu() -> None:
    """As the specification has them, https://www.w3.org/TR/webgpu/#limits."""
    assert (target.MAX_BINDING, target.MAX_BINDINGS, target.MAX_IMAGES) == (134_217_728, 8, 4)
    assert (target.MAX_WORKGROUPS, target.MAX_INVOCATIONS, target.WORKGROUP_MEMORY) == (65_535, 256, 16_384)
    assert target.TEXTURE_WIDTH <= target.TEXTURE_HEIGHT == 8192
