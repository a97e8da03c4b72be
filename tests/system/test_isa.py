"""Kernels of GPUs without a GPU: what RADV makes of the profiles of real bundles, and the arithmetic of the report."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from bundles import whole_plan

import intaglio
from benchmarks.isa import bar, choices, families, report, rows
from benchmarks.isa.figures import Figures, figures, instructions
from benchmarks.isa.rows import Row
from benchmarks.lines import report as lines_report
from benchmarks.lines.bundles import counts
from intaglio.runtime.plan import Plan

ROOT = Path(__file__).parents[2]
FIXTURES = "whisper-merged-18", "llama-q4"
ENVIRONMENT = dict[str, str]

FIGURES = Figures(64, 64, 0, 0, 16.0, 100, 10, 0, 800, 0.01)
ROW = Row("navi31", "tiny", "matmul_8x8", "matmul 8x8", "tiles64", ("amd",), (64, 1, 1), 640, {"step": 2}, FIGURES)


@pytest.fixture(scope="module", params=["navi21", "vega10", "navi31"])
def family(request: pytest.FixtureRequest) -> tuple[str, ENVIRONMENT]:
    """A family of AMD's, and the environment in which Mesa compiles for it."""
    return request.param, families.environment(request.param, None, ROOT / "build" / "test" / "layer")


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory, tiny_en_bundle: Path) -> list[Path]:
    folder = tmp_path_factory.mktemp("bundles")
    for name in FIXTURES:
        intaglio.compile(ROOT / "tests" / "fixtures" / name, folder / name)
    return [tiny_en_bundle, *(folder / name for name in FIXTURES)]


def highest(plan: Plan) -> dict[str, int]:
    return {name: high for name, (_, high) in plan.symbols.items()}


def test_profiles_of_gpus_keep_to_the_bar(family: tuple[str, ENVIRONMENT], bundles: list[Path]) -> None:
    """Nothing spills, workgroups fill their waves, and enough waves run side by side."""
    result = []
    for bundle in bundles:
        plan = whole_plan(bundle)
        of_gpus = [name for name in choices.classes(plan) if name != choices.CPU]
        result += rows.measured(bundle, highest(plan), choices.choices(bundle, plan, of_gpus), *family)
    assert "\n".join(bar.broken(result)) == ""


def test_figures_of_a_bundle(family: tuple[str, ENVIRONMENT], bundles: list[Path]) -> None:
    """Of the kernels of one token, which are quick to compile, with the names of the plan."""
    plan = whole_plan(bundles[2])
    chosen = [c for c in choices.choices(bundles[2], plan, [choices.CPU]) if [*c.dispatches] == ["step"]]
    result = rows.measured(bundles[2], highest(plan), chosen, *family)
    assert [row.kernel for row in result] == [
        k for k in plan.used if k in {s.kernel for s in plan.programs["step"].steps}
    ]
    for row in result:
        assert row.figures and not row.refused
        assert row.figures.registers and row.figures.alu and row.figures.memory and row.figures.code
        assert row.figures.wave in (32, 64) and row.figures.occupancy and row.figures.seconds > 0
    assert rows.read(rows.write(result)) == result


def test_gpus_read_half_of_the_lines_of_weights(bundles: list[Path]) -> None:
    """And accesses to workgroup memory seldom wait for each other; those of matrix products never do."""
    counted = [count for bundle in bundles for count in counts(bundle, [], every=False)]
    assert "\n".join(lines_report.wasteful(counted) + lines_report.conflicting(counted)) == ""
    tiles = [count for count in counted if count.chosen.kernel.startswith(("matmul", "conv1d")) and count.of_gpus]
    assert {turns.most for count in tiles for turns in count.turns} == {1}


def test_every_variant_is_counted(bundles: list[Path]) -> None:
    """Every heavy kernel loads something, and no share is more than all."""
    counted = counts(bundles[2], [], every=True)
    for count in counted:
        assert count.uses, count.chosen.kernel
        lines = [each for use in count.uses for each in (*use.together.values(), *use.alone.values())]
        assert all(0 < each.share <= 1 for each in lines)
    assert "| all weights |" in lines_report.table(counted)
    assert "| weight_tile | 1.00 | 1 |" in lines_report.banks_table(counted)


@pytest.mark.parametrize(
    "change, figure, faults",
    [
        ({}, {}, []),
        ({}, {"spilled": 57, "registers": 256}, ["57 registers spill; a lane has 256"]),
        ({"workgroup": (8, 4, 1)}, {}, []),
        ({"workgroup": (8, 3, 1)}, {}, ["workgroup of 8 x 3 x 1 is not a multiple of 32, and 640 invocations"]),
        ({"workgroup": (8, 1, 1), "invocations": 24}, {}, []),
        ({}, {"occupancy": 10.0}, ["occupancy 10, expected 12 in waves of 64"]),
        ({}, {"wave": 32, "occupancy": 10.0}, []),
        ({"family": "navi21"}, {"occupancy": 8.0}, []),
        ({"family": "vega10"}, {"occupancy": 4.0}, []),
        ({"family": "navi21"}, {"occupancy": 6.0}, ["occupancy 6, expected 8 in waves of 64"]),
        ({"classes": ("cpu",)}, {"spilled": 57}, []),
    ],
)
def test_the_bar(change: dict, figure: dict, faults: list[str]) -> None:
    changed = replace(ROW, figures=replace(FIGURES, **figure), **change)
    lines = bar.broken([changed])
    assert len(lines) == len(faults)
    for line, fault in zip(lines, faults, strict=True):
        assert fault in line and f"tiny: matmul_8x8 (tiles64), of amd, on {changed.family}" in line


def test_a_refused_shader_breaks_the_bar() -> None:
    (line,) = bar.broken([replace(ROW, figures=None, refused="this adapter's shader compiler refuses it")])
    assert line.endswith("on navi31: this adapter's shader compiler refuses it")


def test_tables() -> None:
    spilling = replace(ROW, kernel="attention", figures=replace(FIGURES, spilled=3, seconds=0.25), workgroup=(8, 3, 1))
    lines = report.markdown([ROW, spilling, replace(ROW, family="vega10")]).splitlines()
    assert lines[0] == "### tiny on navi31" and "### tiny on vega10" in lines
    assert lines[4] == ("| matmul_8x8 | tiles64 | amd | 64 | 640 | 64 | 64 | 0 | 16 | 100 | 10 | 0 | 0.8 | 0.010 |")
    assert lines[7].startswith("2 kernels: 1 spill, 1 have workgroups that are not a multiple of 32.")
    assert lines[7].endswith("Compiling takes 0.3 s, of which attention takes 0.25 s.")


def test_before_and_after() -> None:
    """A problem's variant of the processor, and then that of GPUs."""
    before = replace(ROW, classes=("cpu",), variant="rows8", figures=replace(FIGURES, spilled=57, occupancy=4.0))
    lines = report.compared([before], [replace(before, variant="rows4"), ROW]).splitlines()
    assert lines[2:] == ["| navi31 | matmul 8x8 | rows8 64 / 57 / 4 | tiles64 64 / 0 / 16 |"]


def test_instructions_of_amd() -> None:
    text = "BB0:\n\ts_mov_b32 s0, s3\n\tv_add_nc_u32_e32 v1, s6, v0\n\tglobal_load_dwordx4 v[0:3]\n\timage_load v0\n"
    assert instructions(text + "\tds_write_b128 v0, v[4:7]\n\tv_fma_f32 v0, v1\n\ts_waitcnt vmcnt(0)\n") == (2, 2, 0.2)


def test_figures_of_other_drivers() -> None:
    """Of Intel the widest executable counts, and fills are spills too; Adreno's private accesses are."""
    intel = {"Instruction Count": 100, "SEND messages": 10, "Spill count": 0, "Fill count": 0}
    narrow, wide = ({"subgroup": n, "statistics": intel | {"Fill count": n}, "assembly": ""} for n in (8, 16))
    of_intel = figures({"seconds": 0.5, "executables": [narrow, wide]}, "intel", 32)
    assert (of_intel.wave, of_intel.spilled, of_intel.alu, of_intel.memory) == (16, 16, 90, 10)
    adreno = {"Registers used": 19, "Max Waves Per Core": 10, "STP Count": 2, "LDP Count": 3, "cat2 instructions": 7}
    executable = {"subgroup": 64, "statistics": adreno, "assembly": ""}
    of_adreno = figures({"seconds": 0.5, "executables": [executable]}, "freedreno", 32)
    assert (of_adreno.registers, of_adreno.spilled, of_adreno.occupancy, of_adreno.alu) == (19, 5, 20, 7)
