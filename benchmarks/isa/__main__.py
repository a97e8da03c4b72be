"""`python -m benchmarks.isa [BUNDLE ...]`: registers, spills and occupancy of kernels, without a GPU."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmarks import vulkan_layer
from benchmarks.isa import choices, families, report, rows
from benchmarks.isa.rows import Row
from benchmarks.lines import bundles as lines
from benchmarks.lines import report as lines_report
from benchmarks.models import ROOT, Models, prepare
from intaglio.runtime import designs_file, plan_file

BUILD = ROOT / "build" / "benchmark"
DEFAULT = "whisper", "smollm2-q4"  # the bundles that are compiled where none is named


def main() -> int:
    options = _options()
    bundles = options.bundles or _default_bundles()
    result: list[Row] = []
    for family in options.families:
        try:
            variables = families.environment(family, options.drivers, BUILD / "layer")
        except (families.NoDriver, vulkan_layer.NoLayer) as why:
            print(f"left out: {why}", file=sys.stderr)
            continue
        for bundle in bundles:
            result += _rows(bundle, family, variables, options)
    if not result:
        print("no driver here compiles for any of these families", file=sys.stderr)
        return 1
    text = "\n\n".join([report.markdown(result), *(_lines(bundle, options) for bundle in bundles)])
    if options.before:
        text += f"\n\n### Before and after\n\n{report.compared(rows.read(options.before.read_text()), result)}"
    print(text)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "isa.json").write_text(rows.write(result))
    (options.out / "isa.md").write_text(text + "\n")
    report.chart(result, options.out / "isa.png")
    print(f"\n{options.out}/isa.md, isa.json, isa.png")
    return 0


def _rows(bundle: Path, family: str, variables: dict[str, str], options: argparse.Namespace) -> list[Row]:
    plan = designs_file.read(bundle, plan_file.read(bundle))
    symbols = {name: high for name, (_, high) in plan.symbols.items()}
    names = options.classes or choices.classes(plan)
    return rows.measured(bundle, symbols, choices.choices(bundle, plan, names, options.all), family, variables)


def _lines(bundle: Path, options: argparse.Namespace) -> str:
    counts = lines.counts(bundle, options.classes or [], options.all)
    tables = {
        f"Percent of memory lines that {bundle.stem}'s loads use": lines_report.table(counts),
        f"Turns that accesses of {bundle.stem} to workgroup memory take": lines_report.banks_table(counts),
    }
    return "\n\n".join(f"### {title}\n\n{table}" for title, table in tables.items())


def _default_bundles() -> list[Path]:
    models = Models(ROOT / "build", square=0)
    prepare(models, DEFAULT, ["intaglio"])
    return [models.bundle(name) for name in DEFAULT]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.isa", description=__doc__)
    parser.add_argument(
        "bundles", metavar="BUNDLE", nargs="*", type=Path, help="default: tiny.en and SmolLM2 in 4 bits"
    )
    parser.add_argument(
        "--families",
        nargs="+",
        choices=list(families.FAMILIES),
        default=["navi21", "vega10", "navi31"],
        help="kinds of GPU (default: navi21 vega10 navi31)",
    )
    parser.add_argument(
        "--classes", nargs="+", metavar="CLASS", help="classes of adapters whose kernels count (default: all)"
    )
    parser.add_argument("--all", action="store_true", help="add the variants that no class runs")
    parser.add_argument(
        "--drivers", type=Path, help="a folder with drm-shims for tgl, dg2 and a740, and with manifests of a newer Mesa"
    )
    parser.add_argument("--before", metavar="FILE", type=Path, help="an isa.json of earlier, to compare with")
    parser.add_argument("--out", type=Path, default=BUILD, help="folder of isa.md, isa.json and isa.png")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
