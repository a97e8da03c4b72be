"""verify: the outputs of every golden run, and, if one is wrong or on request, each step behind them."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import intaglio
from intaglio.commands import arguments
from intaglio.commands.progress import ProgressLine
from intaglio.text import counted, printable

if TYPE_CHECKING:
    from intaglio.runtime.instruments.verify import Input, Range, Result, StepResult

_WORDS = {"ok": "ok   ", "rough": "rough", "wrong": "FAIL "}


SUMMARY = "check the numbers that a bundle computes on this machine's adapter"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", metavar="BUNDLE", help="the folder of a bundle")
    parser.add_argument(
        "--reference", metavar="MODEL", help="compare with onnxruntime, which runs MODEL: the model that was compiled"
    )
    parser.add_argument(
        "--bind",
        metavar="NAME=VALUE",
        type=arguments.binding,
        action="append",
        default=[],
        help="with --reference: the same --bind as when the bundle was compiled",
    )
    parser.add_argument(
        "--dtype", metavar="TYPE", help="with --reference: the same --dtype as when the bundle was compiled"
    )
    parser.add_argument(
        "--tolerance",
        metavar="X",
        type=float,
        help="largest allowed absolute error of an output (relative for intermediate values above 1)",
    )
    parser.add_argument(
        "--all", action="store_true", help="compare and list every step, not only up to the first wrong one"
    )
    parser.add_argument("--allow-edited", action="store_true", help="accept shaders that were edited after compiling")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments.add_adapter(parser)


@dataclass(frozen=True)
class _Findings:
    """What was compared, and what it means. reference: whether the model itself gave the expected values."""

    bundle: intaglio.Bundle
    outputs: Sequence[Result]
    steps: Sequence[StepResult]
    reference: bool

    @property
    def first_wrong(self) -> StepResult | None:
        return next((s for s in self.steps if s.verdict == "wrong"), None)

    @property
    def passed(self) -> bool:
        return bool(self.outputs) and all(r.passed for r in self.outputs) and self.first_wrong is None

    @property
    def conclusion(self) -> str:
        """One sentence, in which what is wrong and what is not do not contradict each other."""
        if not self.outputs:
            return "the bundle has no golden values; compare `run` with the model in onnxruntime on inputs of your own"
        if self.passed:
            compared = f"; {counted(len(self.steps), 'step')} compared, none is wrong" if self.steps else ""
            agree = f"all {len(self.outputs)} outputs agree" if len(self.outputs) > 1 else "the output agrees"
            return f"{agree} with {self._oracles}{compared}"
        wrong, failed = self.first_wrong, sum(not r.passed for r in self.outputs)
        if wrong is not None and not failed:
            return f"the outputs are within their tolerances, but {_place(wrong)} is not"
        count = f"{failed} of {len(self.outputs)} outputs are wrong"
        if wrong is not None:
            return f"{count}; the first error is in {_place(wrong)}"
        return f"{count}; {self._cause}"

    @property
    def _oracles(self) -> str:
        return " and ".join(dict.fromkeys(r.by for r in self.outputs))

    @property
    def _cause(self) -> str:
        """Where the error of an output can be if no step that was compared is wrong."""
        if not self.steps:
            return "no step can be compared"
        if self.reference:
            return f"the error is not in the {len(self.steps)} steps that the model has values for"
        return (
            "its steps do what the compiler meant, so the compiled graph differs from the model; "
            "`intaglio verify BUNDLE --reference MODEL` shows where"
        )


def run(options: argparse.Namespace, progress: ProgressLine) -> int:
    bundle = intaglio.load(options.bundle, progress, allow_edited=options.allow_edited)
    source = options.tolerance, options.reference, dict(options.bind), options.dtype
    outputs = bundle.verify(*source)
    steps: list[StepResult] = []
    if options.all or options.reference or not all(r.passed for r in outputs):
        for result in bundle.verify_steps(*source):
            steps.append(result)
            if result.verdict == "wrong" and not options.all:
                break
    progress.clear()
    findings = _Findings(bundle, outputs, steps, options.reference is not None)
    if options.json:
        print(json.dumps(_numbers(_fields(findings, options.all))))
    else:
        print("\n".join(_lines(findings, options.all)))
    if not findings.passed:
        raise ValueError(f"{options.bundle}: {findings.conclusion}")
    return 0


def _fields(findings: _Findings, every: bool) -> dict[str, Any]:
    wrong = findings.first_wrong
    return {
        "passed": findings.passed,
        "conclusion": findings.conclusion,
        "edited": findings.bundle.engine.edited,
        "outputs": [{**asdict(r), "passed": r.passed} for r in findings.outputs],
        "steps_compared": len(findings.steps),
        "first_wrong": asdict(wrong) if wrong else None,
        **({"steps": [asdict(s) for s in findings.steps]} if every else {}),
    }


def _numbers(value: Any) -> Any:
    """`value` with null for NaN and infinity, which JSON does not have."""
    if isinstance(value, dict):
        return {name: _numbers(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_numbers(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _lines(findings: _Findings, every: bool) -> list[str]:
    """All that was compared. The conclusion is the last line if it is good, else the error's."""
    lines = [f"edited: {file} was edited after compiling" for file in findings.bundle.engine.edited]
    for r in findings.outputs:
        where = f"{r.check} {r.program} {printable(r.output)}"
        lines.append(f"{_WORDS['ok' if r.passed else 'wrong']} {where}: {_error(r)}")
        lines += [] if r.passed else [f"      at {_element(r)}"]
    for s in findings.steps if every else ():
        where = f"{s.worst.check} {s.worst.program} {s.step} {printable(s.kernel)}"
        lines.append(f"{_WORDS[s.verdict]} {where}: {_error(s.worst)}")
    if findings.first_wrong is not None:
        lines += _described(findings.bundle, findings.first_wrong)
    return [*lines, findings.conclusion] if findings.passed else lines


def _described(bundle: intaglio.Bundle, wrong: StepResult) -> list[str]:
    """Everything about the first wrong step that helps to find the cause."""
    kernel = bundle.whole_plan.kernels[wrong.kernel]
    edited = ", edited" if kernel.file in bundle.engine.edited else ""
    lines = [f"the first wrong step is {_place(wrong)}: {printable(wrong.kernel)}"]
    rows = [
        ("shader", f"{kernel.file}{edited}"),
        ("computes", printable(", ".join(dict.fromkeys(wrong.nodes)) or "no node of the model")),
        ("wrote", f"{printable(wrong.worst.output)}, {_range(wrong.wrote)}; expected {_range(wrong.right)}"),
        ("worst", f"{_element(wrong.worst)} ({_error(wrong.worst)})"),
        *(("read", _read(i)) for i in wrong.inputs),
    ]
    lines += [f"  {word:9} {text}" for word, text in rows]
    if wrong.doubtful:
        lines.append(f"  unsure    steps {', '.join(map(str, wrong.doubtful))} before it may be wrong too")
    return lines


def _place(step: StepResult) -> str:
    return f"step {step.step} of {step.worst.program}"


def _error(r: Result) -> str:
    return f"error {r.error:.2g}, allowed {r.tolerance:.2g}, in {r.count} values"


def _element(r: Result) -> str:
    return f"{list(r.index)}: {r.value:.9g}, expected {r.expected:.9g}"


def _range(r: Range) -> str:
    odd = f" and {r.odd} that are infinite or NaN" if r.odd else ""
    return f"{r.low:.4g} to {r.high:.4g}{odd}" if r.low < r.high else f"{r.low:.4g}{odd}"


def _read(i: Input) -> str:
    near = f"; for this element {_range(i.near)}" if i.near else ""
    return f"{i.name}, {printable(i.value)}: {i.type}, {_range(i.range)}{near}"
