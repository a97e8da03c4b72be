"""inspect: what a bundle is made of, as text or as a page; or the WGSL of one kernel."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import intaglio
from intaglio.commands.progress import ProgressLine
from intaglio.runtime import files
from intaglio.runtime import plan as plans
from intaglio.runtime.contract import STEP
from intaglio.runtime.instruments import profile as profiles
from intaglio.runtime.limits import STAGING
from intaglio.runtime.plan import KINDS, Buffer, Plan, Step
from intaglio.text import counted, groups, size, table

if TYPE_CHECKING:
    from intaglio.bundle import Bundle

SUMMARY = "show what a bundle is made of"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", metavar="BUNDLE", help="the folder of a bundle")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--kernel", metavar="NAME", help="print the WGSL of this kernel")
    what.add_argument("--html", metavar="FILE", type=Path, help="write everything as one page for a browser")
    parser.add_argument("--profile", metavar="FILE", type=Path, help="with --html: show times from `bench --save FILE`")


def run(options: argparse.Namespace, progress: ProgressLine) -> int:
    bundle = intaglio.load(options.bundle)
    if options.html is None:
        print(shader(bundle, options.kernel) if options.kernel else describe(bundle))
        return 0
    from intaglio import page

    page.write(bundle, options.html, profiles.read(options.profile, bundle.plan) if options.profile else None)
    print(f"{options.html}: {size(options.html.stat().st_size)}")
    return 0


def summary(bundle: Bundle) -> str:
    """The bundle in a line."""
    plan = bundle.plan
    steps = sum(len(program.steps) for program in plan.programs.values())
    counts = [(len(plan.programs), "program", "s"), (steps, "dispatch", "es"), (len(plan.used), "kernel", "s")]
    return ", ".join([*(counted(*c) for c in counts), f"{size(plan.bytes_of('weight'))} of weights"])


def describe(bundle: Bundle) -> str:
    """Programs with their steps, kernels, variants, tunings, memory by kind, weight files."""
    plan = bundle.plan
    lines = [f"{bundle.folder}: {plan.kind}, programs {', '.join(plan.programs)}"]
    if plan.bound:
        lines.append("sizes  " + ", ".join(f"{name} {low} to {high}" for name, (low, high) in plan.bound.items()))
    lines += [*_programs(plan), *_kernels(plan), *_variants(bundle.whole_plan), *_memory(plan), *_weights(plan)]
    if STEP in plan.programs:
        lines += ["", f"dispatches per token: {len(plan.programs[STEP].steps)}"]
    return "\n".join(lines)


def _programs(plan: Plan) -> Iterator[str]:
    for name, program in plan.programs.items():
        yield from ("", f"program {name}: {counted(len(program.steps), 'dispatch', 'es')}")
        yield from (f"  in   {_value(plan.buffers[i], n)}" for n, i in program.inputs.items())
        yield from (f"  out  {_value(plan.buffers[i], n)}" for n, i in program.outputs.items())
        yield from table([_step(plan, i, step) for i, step in enumerate(program.steps)])


def _kernels(plan: Plan) -> list[str]:
    uses = Counter(step.kernel for program in plan.programs.values() for step in program.steps)
    rows = [[name, f"{uses[name]}x", kernel.file] for name, kernel in plan.used.items()]
    return ["", f"kernels: {len(plan.used)}", *table(rows)]


def _variants(plan: Plan) -> Iterator[str]:
    """The variants of each problem, and the ones that each tuning chose."""
    if plan.alternatives:
        yield from ("", f"variants (`intaglio tune` finds the fastest): {len(plan.kernels)} kernels in all")
        yield from table([[p, f"{of.variant}, or {', '.join(of.others)}"] for p, of in plan.alternatives.items()])
    for t in plan.tunings:
        yield from ("", f"tuning for {t.device} ({t.driver})")
        yield from table([[problem, variant] for problem, variant in t.variants.items()])


def _memory(plan: Plan) -> list[str]:
    counts = Counter(b.kind for b in plan.buffers)
    rows = [[kind, counted(counts[kind], "buffer"), size(plan.bytes_of(kind))] for kind in KINDS if counts[kind]]
    rows.append(["uniform", counted(1, "buffer"), size(plan.uniform_bytes)])
    rows.append(["staging", counted(1, "buffer"), size(STAGING)])
    return ["", f"memory on the adapter: {size(plan.bytes)}", *table(rows)]


def _weights(plan: Plan) -> Iterator[str]:
    """How many tensors, or parts of them, each weight file holds."""
    tensors = Counter(file for b in plan.buffers for file in b.files)
    if tensors:
        yield from ("", "weights")
    for file, count in sorted(tensors.items()):
        yield f"  {file}  {counted(count, 'tensor')}, {size(plan.files[file].bytes)}"


def shader(bundle: Bundle, name: str) -> str:
    """The WGSL of a kernel. Raises ValueError for a name that the bundle lacks."""
    kernels = bundle.whole_plan.kernels
    if name not in kernels:
        raise ValueError(f"{bundle.folder} has no kernel {name!r}; `intaglio inspect {bundle.folder}` lists them")
    return files.verify_file(bundle.folder, bundle.whole_plan, kernels[name].file).decode("utf-8")


def _value(buffer: Buffer, name: str) -> str:
    return f"{name}: {buffer.dtype}[{','.join(map(str, buffer.shape))}]"


def _step(plan: Plan, i: int, step: Step) -> list[str]:
    """A row: number, kernel, grid, what it reads and writes. Weights are left out: the kernel's file names them."""
    bound = list(zip(step.buffers, plan.kernels[step.kernel].access, strict=True))
    written = [_name(plan, b) for b, a in bound if plans.ACCESS[a].write]
    read = [_name(plan, b) for b, a in bound if not plans.ACCESS[a].write and plan.buffers[b].kind != "weight"]
    return [str(i), step.kernel, " x ".join(map(groups, step.grid)), f"{', '.join(read)} -> {', '.join(written)}"]


def _name(plan: Plan, i: int) -> str:
    return plan.buffers[i].name or f"{plan.buffers[i].kind} {i}"
