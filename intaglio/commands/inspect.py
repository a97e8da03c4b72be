"""inspect: what a bundle is made of, as text or as a page; or the WGSL of one kernel."""

from __future__ import annotations

import argparse
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import intaglio
from intaglio.commands.progress import ProgressLine
from intaglio.runtime import adapter_class, files, tuning
from intaglio.runtime import plan as plans
from intaglio.runtime.contract import STEP
from intaglio.runtime.instruments import profile as profiles
from intaglio.runtime.limits import READBACKS
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
    what.add_argument(
        "--adapter-class",
        metavar="CLASS",
        type=adapter_class.check,
        help=f"list what runs on an adapter of a class: {', '.join(adapter_class.CLASSES)}",
    )
    parser.add_argument("--json", action="store_true", help="with --adapter-class: print JSON")
    parser.add_argument("--profile", metavar="FILE", type=Path, help="with --html: show times from `bench --save FILE`")


def run(options: argparse.Namespace, progress: ProgressLine) -> int:
    bundle = intaglio.load(options.bundle)
    if options.adapter_class:
        listed = for_class(bundle, options.adapter_class)
        print(json.dumps(listed, indent=1) if options.json else "\n".join(_class_lines(listed)))
        return 0
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
    lines += [
        *_programs(plan),
        *_kernels(plan),
        *_variants(bundle.whole_plan),
        *_memory(plan),
        *_storages(bundle),
        *_weights(plan),
    ]
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


def for_class(bundle: Bundle, name: str) -> dict[str, Any]:
    """What each step runs on an adapter of a class that nobody tuned for: one entry for each dispatch.

    `when` says at which sizes an entry runs, if that depends on sizes.
    """
    plan = tuning.of_class(bundle.whole_plan, name)
    workgroups = {kernel: _workgroup(shader(bundle, kernel)) for kernel in plan.used}
    programs = {
        program: [
            {
                "kernel": d.kernel,
                "variant": variant,
                "workgroup": workgroups[d.kernel],
                "grid": d.grid,
                "step": i,
                **when,
            }
            for i, step in enumerate(of.steps)
            for variant, when in _chosen(step)
            for d in step.dispatches(variant)
        ]
        for program, of in plan.programs.items()
    }
    return {"class": name, "bytes": plan.bytes, "programs": programs}


def _chosen(step: Step) -> Iterator[tuple[str, dict[str, str]]]:
    """The variants that a step runs, each with its sizes."""
    if step.choice is None:
        yield step.alternatives.variant if step.alternatives else "", {}
        return
    of, ends = step.choice.of, (None, *step.choice.above, None)
    for variant, above, to in zip(step.choice.variants, ends[:-1], ends[1:], strict=True):
        bounds = [f"{of} > {above}"] * (above is not None) + [f"{of} <= {to}"] * (to is not None)
        yield variant, {"when": " and ".join(bounds)} if bounds else {}


def _workgroup(shader: str) -> list[int]:
    """The invocations of a workgroup along x, y and z."""
    sizes = re.search(r"@workgroup_size\(([\d, ]+)\)", shader)
    return [int(n) for n in sizes[1].split(",")] if sizes else []


def _class_lines(listed: Mapping[str, Any]) -> Iterator[str]:
    yield f"memory on the adapter: {size(listed['bytes'])}"
    for program, dispatches in listed["programs"].items():
        yield from ("", f"program {program} on an adapter of the class {listed['class']}")
        yield from table(
            [
                [
                    str(d["step"]),
                    d["kernel"],
                    d["variant"],
                    " x ".join(map(groups, d["grid"])) + " of " + " x ".join(map(str, d["workgroup"])),
                    d.get("when", ""),
                ]
                for d in dispatches
            ]
        )


def _memory(plan: Plan) -> list[str]:
    counts = Counter(b.kind for b in plan.buffers)
    rows = [[kind, counted(counts[kind], "buffer"), size(plan.bytes_of(kind))] for kind in KINDS if counts[kind]]
    rows.append(["uniform", counted(1, "buffer"), size(plan.uniform_bytes)])
    rows.append(["staging", counted(READBACKS, "buffer"), size(plan.staging_bytes)])
    return ["", f"memory on the adapter: {size(plan.bytes)}", *table(rows)]


def _storages(bundle: Bundle) -> Iterator[str]:
    """How classes of adapters store states, where they differ from the plan, and what f16 changes there."""
    whole = bundle.whole_plan
    for storage in whole.storages:
        plan, (buffer, *_) = whole.stored(storage), storage.states.values()
        cache, format = size(sum(b.bytes for b in storage.states.values())), "f16" if buffer.format else "f32"
        yield from ("", f"on {', '.join(storage.classes)}: {cache} of caches are buffers of {format}")
        yield f"  memory on the adapter: {size(tuning.of_class(whole, storage.classes[0]).bytes)}"
        if plan.rounded:
            of = bundle.report["precision"]["caches"]
            yield (
                f"  next tokens, {of['tokens']} measured: {of['changed_tokens']} differ from those of f32 caches, "
                f"divergence {of['divergence']:.1g} nats"
            )


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
