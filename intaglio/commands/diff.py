"""diff: the differences between two bundles: operators, kernels, dispatches, precision, bytes."""

from __future__ import annotations

import argparse
import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

import intaglio
from intaglio.commands.progress import ProgressLine
from intaglio.runtime import files
from intaglio.runtime import plan as plans
from intaglio.runtime.plan import KINDS
from intaglio.text import counted, precision, printable, size, table

Pair = tuple[Any, Any]  # a fact about A, and about B


SUMMARY = "compare two bundles: operators, kernels, dispatches, precision, bytes"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("a", metavar="A", help="the folder of a bundle")
    parser.add_argument("b", metavar="B", help="the folder of the bundle to compare it with")
    parser.add_argument("--json", action="store_true", help="print JSON, with everything that is equal too")


def run(options: argparse.Namespace, progress: ProgressLine) -> int:
    differences = difference(intaglio.load(options.a), intaglio.load(options.b))
    print(json.dumps(differences) if options.json else "\n".join(map(printable, _lines(differences, options))))
    return 0


def difference(a: intaglio.Bundle, b: intaglio.Bundle) -> dict[str, Any]:
    """Facts about both bundles in pairs; and the kernels that only one has, or whose code differs."""
    codes = _codes(a), _codes(b)
    return {
        "facts": _pairs(_facts(a), _facts(b), None),
        "programs": {
            name: {what: _pairs(*pair) if what == "operators" else pair for what, pair in both.items()}
            for name, both in _programs(a, b).items()
        },
        "kernels": {
            "only_a": sorted(codes[0].keys() - codes[1].keys()),
            "only_b": sorted(codes[1].keys() - codes[0].keys()),
            "changed": sorted(k for k in codes[0].keys() & codes[1].keys() if codes[0][k] != codes[1][k]),
        },
        "bytes": _pairs(_bytes(a), _bytes(b)),
        "weights": _pairs(_weights(a), _weights(b)),
    }


def _pairs(a: Mapping[str, Any], b: Mapping[str, Any], none: Any = 0) -> dict[str, Pair]:
    return {name: (a.get(name, none), b.get(name, none)) for name in dict.fromkeys((*a, *b))}


def _facts(bundle: intaglio.Bundle) -> dict[str, Any]:
    plan = bundle.plan
    symbols = {f"size {name}": f"{low} to {high}" for name, (low, high) in plan.bound.items()}
    tensors = {b.name: f"{b.kind} {b.dtype}{list(b.shape)}" for b in plan.buffers if b.kind in plans.SEEN}
    hashes = "".join(plan.files[file].sha256 for file in sorted({file for b in plan.buffers for file in b.files}))
    weights = {"weight files": hashlib.sha256(hashes.encode()).hexdigest()[:12]}
    return {"kind": plan.kind, "precision": precision(bundle.report), **weights, **symbols, **tensors}


def _programs(a: intaglio.Bundle, b: intaglio.Bundle) -> dict[str, dict[str, Pair]]:
    names = dict.fromkeys((*a.plan.programs, *b.plan.programs))
    counts = {name: (_program(a, name), _program(b, name)) for name in names}
    return {name: {what: (one[what], other[what]) for what in one} for name, (one, other) in counts.items()}


def _program(bundle: intaglio.Bundle, name: str) -> dict[str, Any]:
    """FLOPs at the largest sizes."""
    if name not in bundle.plan.programs:
        return {"dispatches": 0, "flops": 0, "operators": Counter()}
    most = {symbol: high for symbol, (_, high) in bundle.plan.symbols.items()}
    return {
        "dispatches": len(bundle.plan.programs[name].steps),
        "flops": sum(bundle.graph.cost(bundle.plan, name, i, most)[0] for i in range(len(bundle.graph.work[name]))),
        "operators": Counter(o.op for o in bundle.graph.programs[name].operations),
    }


def _codes(bundle: intaglio.Bundle) -> dict[str, str]:
    """The code of each kernel without its comments, because those say where it is used."""
    edited: list[str] = []
    texts = {
        name: files.verify_file(bundle.folder, bundle.plan, kernel.file, edited).decode("utf-8", "replace")
        for name, kernel in bundle.plan.used.items()
    }
    return {
        name: "\n".join(line for line in text.splitlines() if not line.startswith("//")) for name, text in texts.items()
    }


def _bytes(bundle: intaglio.Bundle) -> dict[str, int]:
    return {kind: bundle.plan.bytes_of(kind) for kind in KINDS} | {"total": bundle.plan.bytes}


def _weights(bundle: intaglio.Bundle) -> dict[str, int]:
    """Bytes of weights by type and layout."""
    described = {}
    for name, program in bundle.plan.programs.items():
        for step, work in zip(program.steps, bundle.graph.work[name], strict=True):
            described |= {
                i: f"{o.dtype} {o.layout}" for i, o in zip(step.buffers, work.operands, strict=True) if o.layout
            }
    result: Counter[str] = Counter()
    for i, text in described.items():
        result[text] += bundle.plan.buffers[i].bytes
    return dict(sorted(result.items()))


# as text


def _lines(differences: Mapping[str, Any], options: argparse.Namespace) -> list[str]:
    lines = [f"A  {options.a}", f"B  {options.b}"]
    same = len(lines)
    lines += _rows(differences["facts"], str)
    for name, program in differences["programs"].items():
        if not all(program["dispatches"]):
            which = "A" if program["dispatches"][0] else "B"
            lines += ["", f"program {name}: only in {which}, {counted(max(program['dispatches']), 'dispatch', 'es')}"]
            continue
        rows = _rows({what: program[what] for what in ("dispatches", "flops")}, lambda n: f"{n:,}")
        rows += _rows(program["operators"], str)
        lines += ["", f"program {name}", *rows] if rows else []
    kernels = {
        what: differences["kernels"][key]
        for what, key in (("only in A", "only_a"), ("only in B", "only_b"), ("changed", "changed"))
    }
    for what, names in kernels.items():
        lines += ["", f"{counted(len(names), 'kernel')} {what}: {', '.join(names)}"] if names else []
    for what in ("bytes", "weights"):
        rows = _rows(differences[what], size)
        lines += ["", what, *rows] if rows else []
    return lines if len(lines) > same else [*lines, "no differences"]


def _rows(pairs: Mapping[str, Pair], shown: Any) -> list[str]:
    """A line for each pair that differs, with the change from A to B in percent."""
    rows = []
    for name, (a, b) in pairs.items():
        if a != b:
            change = f"{100 * (b - a) / a:+.0f} %" if isinstance(a, int) and isinstance(b, int) and a else ""
            rows.append([name, *("-" if side is None else shown(side) for side in (a, b)), change])
    return table(rows) if rows else []
