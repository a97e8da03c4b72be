"""What a bundle is made of, and what adapters there are, as text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from intaglio.bundle import Bundle
from intaglio.runtime import files, limits, tuning
from intaglio.runtime import plan as plans
from intaglio.runtime.limits import DEFAULT_LIMITS, FEATURES, LARGER_LIMITS, TIERS
from intaglio.runtime.plan import KINDS, Buffer, Plan, Step

if TYPE_CHECKING:
    import wgpu


def summary(bundle: Bundle) -> str:
    """The bundle in a line."""
    plan = bundle.plan
    steps = sum(len(program.steps) for program in plan.programs.values())
    counts = [(len(plan.programs), "program", "s"), (steps, "dispatch", "es"), (len(plan.used), "kernel", "s")]
    return ", ".join([*(counted(*c) for c in counts), f"{size(plan.bytes_of('weight'))} of weights"])


def describe(bundle: Bundle) -> str:
    """Programs with their steps, kernels, memory by kind, weight files."""
    plan = bundle.plan
    programs = ", ".join(plan.programs)
    lines = [f"{bundle.folder}: {plan.kind}, programs {programs}"]
    if plan.symbols:
        lines.append("sizes  " + ", ".join(f"{name} {low} to {high}" for name, (low, high) in plan.symbols.items()))
    for name, program in plan.programs.items():
        lines += ["", f"program {name}: {counted(len(program.steps), 'dispatch', 'es')}"]
        lines += [f"  in   {_value(plan.buffers[i], n)}" for n, i in program.inputs.items()]
        lines += [f"  out  {_value(plan.buffers[i], n)}" for n, i in program.outputs.items()]
        lines += table([_step(plan, i, step) for i, step in enumerate(program.steps)])
    uses = Counter(step.kernel for program in plan.programs.values() for step in program.steps)
    lines += ["", f"kernels: {len(plan.used)}"]
    lines += table([[name, f"{uses[name]}x", kernel.file] for name, kernel in plan.used.items()])
    whole = bundle.whole_plan
    if whole.alternatives:
        lines += ["", f"variants, of which `intaglio tune` finds the fastest: {len(whole.kernels)} kernels in all"]
        lines += table([[p, f"{of.variant}, or {', '.join(of.others)}"] for p, of in whole.alternatives.items()])
    for t in whole.tunings:
        lines += ["", f"on {t.device} ({t.driver})", *table([[problem, v] for problem, v in t.variants.items()])]
    lines += ["", f"memory on the adapter: {size(plan.bytes)}"]
    counts = Counter(b.kind for b in plan.buffers)
    memory = [[kind, counted(counts[kind], "buffer"), size(plan.bytes_of(kind))] for kind in KINDS if counts[kind]]
    lines += table(
        [
            *memory,
            ["uniform", counted(1, "buffer"), size(plan.uniform_bytes)],
            ["staging", counted(1, "buffer"), size(limits.STAGING)],
        ]
    )
    files = sorted({file for b in plan.buffers for file in b.files})
    if files:
        lines += ["", "weights"]
    for file in files:
        count = sum(file in b.files for b in plan.buffers)
        lines.append(f"  {file}  {counted(count, 'tensor')}, {size(plan.files[file].bytes)}")
    if "step" in plan.programs:
        lines += ["", f"dispatches per token: {len(plan.programs['step'].steps)}"]
    return "\n".join(lines)


def shader(bundle: Bundle, name: str) -> str:
    """The WGSL of a kernel. Raises ValueError for a name that the bundle lacks."""
    kernels = bundle.whole_plan.kernels
    if name not in kernels:
        raise ValueError(f"there is no kernel {name!r} in {bundle.folder}; `intaglio inspect` lists them")
    return files.verify_file(bundle.folder, bundle.whole_plan, kernels[name].file).decode("utf-8")


def _value(buffer: Buffer, name: str) -> str:
    return f"{name}: {buffer.dtype}[{','.join(map(str, buffer.shape))}]"


def _step(plan: Plan, i: int, step: Step) -> list[str]:
    """A row of the table. Weights are left out: their names are long, and the kernel's file has them."""
    bound = list(zip(step.buffers, plan.kernels[step.kernel].access, strict=True))
    made = [_name(plan, b) for b, letter in bound if plans.ACCESS[letter].write]
    read = [_name(plan, b) for b, a in bound if not plans.ACCESS[a].write and plan.buffers[b].kind != "weight"]
    return [str(i), step.kernel, " x ".join(map(groups, step.grid)), f"{', '.join(read)} -> {', '.join(made)}"]


def _name(plan: Plan, i: int) -> str:
    return plan.buffers[i].name or f"{plan.buffers[i].kind} {i}"


def groups(d: Any) -> str:
    if isinstance(d, int):
        return str(d)
    product = "*".join(f"({s})" if "+" in str(s) else str(s) for s in d["of"])
    return product if d["per"] == 1 else f"ceil({product}/{d['per']})"


def precision(bundle: Bundle) -> str:
    """What numbers are stored as, by the report."""
    said = bundle.report.get("precision")
    return str(said.get("name", "unknown")) if isinstance(said, dict) else "unknown"


def printable(text: str) -> str:
    """A name from a stranger's bundle, which must not move the cursor of the terminal that it is shown on."""
    return "".join(c if c.isprintable() or c == "\n" else "?" for c in text)


def counted(count: int, noun: str, plural: str = "s") -> str:
    return f"{count} {noun}{plural if count != 1 else ''}"


def size(count: int) -> str:
    """In decimal units, as disks and files are measured."""
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} B"


def table(rows: Iterable[list[str]]) -> list[str]:
    """Indented rows whose columns, but for the last, are padded to one width."""
    rows = list(rows)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  " + "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows]


def describe_adapter(adapter: wgpu.GPUAdapter, state: str) -> str:
    """An adapter's driver, the tiers that it has, its limits beside WebGPU's defaults, and its features."""
    info = adapter.info
    rows = [
        ["backend", info["backend_type"]],
        ["type", info["adapter_type"]],
        ["driver", info["description"] or "unknown"],
        ["tuning", known_tuning(info)],
    ]
    lines = [f"{info['device'] or 'unnamed'} ({state})", *table(rows), "  tiers", *table(_tiers(adapter))]
    limits = [[f"  {name}", f"{adapter.limits[name]} (used: {used})"] for name, used in DEFAULT_LIMITS.items()]
    return "\n".join(
        [*lines, "  limits", *table(limits), f"  features  {', '.join(sorted(adapter.features)) or 'none'}"]
    )


def known_tuning(info: Mapping[str, str]) -> str:
    """Whether bundles know without a tuning file which variants are fast on this adapter."""
    from intaglio.codegen.bundle import tunings

    known = tuning.closest(tunings.shipped(), info)
    if known is None:
        return "none comes with bundles; see intaglio tune"
    same = (known.device, known.driver) == tuning.adapter(info)
    return "comes with bundles" + ("" if same else f", from {known.device}, {known.driver or 'unknown driver'}")


def _tiers(adapter: wgpu.GPUAdapter) -> Iterable[list[str]]:
    """What bundles may count on, whether this adapter has it, and why."""
    short = [name for name, used in DEFAULT_LIMITS.items() if adapter.limits[name] < used]
    yield ["  default", "no" if short else "yes", f"too little {', '.join(short)}" if short else "every bundle runs"]
    from intaglio.runtime.device import tiers

    has, larger = tiers(adapter), [name for name, wanted in LARGER_LIMITS.items() if adapter.limits[name] < wanted]
    lacks = {name: f"it lacks the feature {wgpus}" for name, wgpus in FEATURES.items()}
    lacks["larger-limits"] = f"too little {', '.join(larger)}"
    for name in TIERS:
        row = ["yes", "kernels that a tuning may choose"] if name in has else ["no", lacks[name]]
        yield [f"  {name}", *row]
