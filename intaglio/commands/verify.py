"""verify: the outputs of every golden run, and the steps behind them where one is wrong or more is asked for."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import intaglio
from intaglio.commands import arguments
from intaglio.commands.describe import printable
from intaglio.commands.progress import ProgressLine

if TYPE_CHECKING:
    from intaglio.runtime.instruments.verify import Input, Range, Result, StepResult

_WORDS = {"ok": "ok   ", "rough": "rough", "wrong": "FAIL "}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", metavar="BUNDLE")
    parser.add_argument(
        "--reference", metavar="MODEL", help="compare with what onnxruntime computes, from the model that was compiled"
    )
    parser.add_argument(
        "--bind",
        metavar="NAME=VALUE",
        type=arguments.binding,
        action="append",
        default=[],
        help="with --reference: what was bound when the bundle was compiled",
    )
    parser.add_argument(
        "--tolerance",
        metavar="X",
        type=float,
        help="the largest error of an output; of values on the way to it, where they are above 1, in proportion",
    )
    parser.add_argument("--all", action="store_true", help="list every step, not just the first wrong one")
    parser.add_argument("--allow-edited", action="store_true", help="take shaders that are not what was compiled")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace, progress: ProgressLine) -> int:
    bundle = intaglio.load(options.bundle, progress, allow_edited=options.allow_edited)
    source = options.tolerance, options.reference, dict(options.bind)
    outputs = bundle.verify(*source)
    steps: list[StepResult] = []
    if options.all or options.reference or not all(r.passed for r in outputs):
        for result in bundle.verify_steps(*source):
            steps.append(result)
            if result.verdict == "wrong" and not options.all:
                break
    progress.clear()
    wrong = next((s for s in steps if s.verdict == "wrong"), None)
    failed = [r for r in outputs if not r.passed]
    if options.json:
        print(json.dumps(_numbers(_fields(bundle, outputs, steps, wrong, options.all))))
    else:
        print("\n".join(_lines(bundle, outputs, steps, wrong, options.all)))
    if wrong or failed or not outputs:
        what = f"{len(failed)} of {len(outputs)} outputs are wrong" if outputs else "the bundle holds no golden values"
        raise ValueError(f"{options.bundle}: {what}" + (f", from {_place(wrong)} on" if wrong else ""))
    return 0


def _fields(
    bundle: intaglio.Bundle,
    outputs: Sequence[Result],
    steps: Sequence[StepResult],
    wrong: StepResult | None,
    every: bool,
) -> dict[str, Any]:
    return {
        "passed": wrong is None and bool(outputs) and all(r.passed for r in outputs),
        "edited": bundle.engine.edited,
        "outputs": [{**asdict(r), "passed": r.passed} for r in outputs],
        "steps_compared": len(steps),
        "first_wrong": asdict(wrong) if wrong else None,
        **({"steps": [asdict(s) for s in steps]} if every else {}),
    }


def _numbers(value: Any) -> Any:
    """`value` with null for what JSON has no number for."""
    if isinstance(value, dict):
        return {name: _numbers(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_numbers(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _lines(
    bundle: intaglio.Bundle,
    outputs: Sequence[Result],
    steps: Sequence[StepResult],
    wrong: StepResult | None,
    every: bool,
) -> list[str]:
    lines = [f"edited: {file} is not what was compiled" for file in bundle.engine.edited]
    for r in outputs:
        where = f"{r.check} {r.program} {printable(r.output)}"
        lines.append(f"{_WORDS['ok' if r.passed else 'wrong']} {where}: {_error(r)}")
        lines += [] if r.passed else [f"      at {_element(r)}"]
    for s in steps if every else ():
        where = f"{s.worst.check} {s.worst.program} {s.step} {printable(s.kernel)}"
        lines.append(f"{_WORDS[s.verdict]} {where}: {_error(s.worst)}")
    if wrong is not None:
        lines += _described(bundle, wrong)
    elif steps:
        lines.append(f"{len(steps)} steps compared, none of them wrong")
    return lines


def _described(bundle: intaglio.Bundle, wrong: StepResult) -> list[str]:
    """The first wrong step, for someone who is to find out why."""
    kernel = bundle.plan.kernels[wrong.kernel]
    edited = ", edited" if kernel.file in bundle.engine.edited else ""
    lines = [f"the first wrong step is {_place(wrong)}: {printable(wrong.kernel)}"]
    rows = [
        ("shader", f"{kernel.file}{edited}"),
        ("computes", printable(", ".join(dict.fromkeys(wrong.nodes)) or "nothing of the model's own")),
        ("wrote", f"{printable(wrong.worst.output)}, {_range(wrong.wrote)}; right is {_range(wrong.right)}"),
        ("worst", f"{_element(wrong.worst)} ({_error(wrong.worst)})"),
        *(("read", _read(i)) for i in wrong.inputs),
    ]
    lines += [f"  {word:9} {text}" for word, text in rows]
    if wrong.doubtful:
        lines.append(f"  rests on  {', '.join(map(str, wrong.doubtful))}, which may be wrong themselves")
    return lines


def _place(step: StepResult) -> str:
    return f"step {step.step} of {step.worst.program}"


def _error(r: Result) -> str:
    return f"error {r.error:.2g} of {r.tolerance:.2g} in {r.count} values"


def _element(r: Result) -> str:
    return f"{list(r.index)}: {r.value:.9g}, expected {r.expected:.9g}"


def _range(r: Range) -> str:
    odd = f" and {r.odd} that are infinite or no number" if r.odd else ""
    return f"{r.low:.4g} to {r.high:.4g}{odd}" if r.low < r.high else f"{r.low:.4g}{odd}"


def _read(i: Input) -> str:
    near = f"; for that element {_range(i.near)}" if i.near else ""
    return f"{i.name}, {printable(i.value)}: {i.type} of {_range(i.range)}{near}"
