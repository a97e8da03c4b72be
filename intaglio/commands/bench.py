"""bench: times of starts, programs and tokens; with --profile also of every dispatch, as a table or as a trace."""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import intaglio
from intaglio.commands import arguments, save, startup
from intaglio.commands.progress import ProgressLine
from intaglio.runtime.contract import PAST, STEP, TOKENS
from intaglio.runtime.instruments import profile as profiles
from intaglio.runtime.instruments.profile import Profile
from intaglio.runtime.limits import SLOTS
from intaglio.runtime.plan import Plan
from intaglio.text import duration, printable, size, table

if TYPE_CHECKING:
    from intaglio.runtime.instruments.measure import Run
    from intaglio.runtime.session import Session


SUMMARY = "time a bundle on this machine's adapter"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", metavar="BUNDLE", help="the folder of a bundle")
    parser.add_argument("--profile", action="store_true", help="also measure every dispatch")
    parser.add_argument(
        "--size",
        metavar="NAME=N",
        type=arguments.whole,
        action="append",
        default=[],
        help="run at this size, such as new_tokens=128 (default: the sizes of the golden runs)",
    )
    parser.add_argument(
        "--runs", metavar="N", type=int, default=20, help="run each program up to N times (default: 20)"
    )
    parser.add_argument("--trace", metavar="FILE", type=Path, help="write the profile as a trace for ui.perfetto.dev")
    parser.add_argument("--save", metavar="FILE", type=Path, help="write the profile for `inspect --html`")
    parser.add_argument("--allow-edited", action="store_true", help="accept shaders that were edited after compiling")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments.add_adapter(parser)


def run(options: argparse.Namespace, progress: ProgressLine) -> int:
    from intaglio.runtime.device import needs, open_device
    from intaglio.runtime.instruments.clock import FEATURE

    bundle = intaglio.load(options.bundle, progress, allow_edited=options.allow_edited)
    session = bundle.open(open_device([FEATURE], needs(bundle.whole_plan))).session()
    plan = session.plan  # its steps have the variants for this adapter
    results, programs = _measured(bundle, session, options)
    profile = None
    if options.profile or options.trace or options.save:
        from intaglio.runtime.instruments import measure

        digest = hashlib.sha256((bundle.folder / "plan.json").read_bytes()).hexdigest()
        profile = measure.profile(session, bundle.graph, programs, digest, options.runs, progress)
        if options.save:
            save(options.save, profiles.write(profile))
        if options.trace:
            save(options.trace, json.dumps(trace(profile, bundle, plan)))
    results |= {"adapter": session.device.adapter_info["device"], "edited": session.engine.edited}
    del session  # the starts below have the adapter to themselves
    results["starts"] = startup.measure(bundle.folder, dict(options.size), options.allow_edited, progress)
    progress.clear()
    if options.json:
        print(json.dumps({**results, "profile": _dispatches(profile, bundle, plan) if profile else None}))
    else:
        lines = _lines(bundle, plan, results)
        print("\n".join(map(printable, lines + (_tables(profile, bundle, plan) if profile else []))))
    return 0


def _measured(
    bundle: intaglio.Bundle, session: Session, options: argparse.Namespace
) -> tuple[dict[str, Any], list[Run]]:
    from intaglio.runtime.instruments import golden
    from intaglio.runtime.instruments.measure import median, once, per_token, runs

    programs, rows = runs(session.plan, golden.read(bundle.folder, bundle.plan), dict(options.size)), {}
    for run in programs:
        session.feed(run.program, run.inputs, run.symbols)
        first = once(session, run)
        rows[run.program] = {
            "symbols": run.symbols,
            "first": first,
            "median": median(partial(once, session, run), options.runs),
        }
    tokens = {}
    for run in programs:
        if run.program == STEP and {PAST, TOKENS} <= {
            *bundle.plan.symbols,
            *(b.name for b in bundle.plan.buffers),
        }:
            room = bundle.plan.symbols[PAST][1] + 1
            for count in sorted({1, min(SLOTS, room)}):
                tokens[count] = median(partial(per_token, session, run, count), options.runs)
    return {"programs": rows, "token": tokens}, programs


# the profile, as data


def _dispatches(profile: Profile, bundle: intaglio.Bundle, plan: Plan) -> dict[str, Any]:
    """The profile as JSON: each dispatch with its kernel, seconds, FLOPs, bytes and ONNX nodes."""
    return {
        "method": profile.method,
        "ceilings": {"flops": profile.ceilings.flops, "bytes": profile.ceilings.bytes},
        "programs": {
            name: [
                {
                    "kernel": kernel,
                    "seconds": seconds,
                    "flops": flops,
                    "bytes": moved,
                    "nodes": bundle.graph.operation(name, i).nodes,
                }
                for i, (kernel, seconds, flops, moved) in enumerate(_steps(profile, bundle, plan, name))
            ]
            for name in profile.programs
        },
    }


def _steps(profile: Profile, bundle: intaglio.Bundle, plan: Plan, program: str) -> list[tuple[str, float, int, int]]:
    """The kernels of each step, its seconds, FLOPs and bytes."""
    timing, steps = profile.programs[program], plan.programs[program].steps
    costs = [bundle.graph.cost(plan, program, i, timing.symbols) for i in range(len(steps))]
    return [(s.name(timing.symbols), t, *cost) for s, t, cost in zip(steps, timing.steps, costs, strict=True)]


def trace(profile: Profile, bundle: intaglio.Bundle, plan: Plan) -> dict[str, Any]:
    """The profile in Chrome's trace format: a thread for each program, its dispatches in sequence."""
    events: list[dict[str, Any]] = [
        {
            "ph": "M",
            "pid": 1,
            "tid": 0,
            "name": "process_name",
            "args": {"name": f"{bundle.folder.name} on {profile.adapter}"},
        }
    ]
    for thread, name in enumerate(profile.programs, 1):
        events.append({"ph": "M", "pid": 1, "tid": thread, "name": "thread_name", "args": {"name": name}})
        now = 0.0
        for i, (kernel, seconds, flops, moved) in enumerate(_steps(profile, bundle, plan, name)):
            operation = bundle.graph.operation(name, i)
            args = {"step": i, "operator": operation.op, "nodes": operation.nodes, "flops": flops, "bytes": moved}
            place = {"pid": 1, "tid": thread, "ts": now * 1e6, "dur": seconds * 1e6}
            events.append({"ph": "X", "name": kernel, "cat": operation.op, **place, "args": args})
            now += seconds
    return {"traceEvents": events, "displayTimeUnit": "ms"}


# as text


def _lines(bundle: intaglio.Bundle, plan: Plan, results: Mapping[str, Any]) -> list[str]:
    lines = [f"edited: {file} was edited after compiling" for file in results["edited"]]
    lines += [f"adapter    {results['adapter']}", "", *_starts(plan, results["starts"])]
    rows = [["program", "first run", "median", "sizes"]]
    for name, row in results["programs"].items():
        names = bundle.graph.symbols(name)
        sizes = " ".join(f"{symbol}={value}" for symbol, value in row["symbols"].items() if symbol in names)
        rows.append([name, duration(row["first"]), duration(row["median"]), sizes])
    lines += ["", *table(rows)]
    for count, seconds in results["token"].items():
        way = "one per submit" if count == 1 else f"{count} per submit"
        lines += [f"  a token, {way}: {duration(seconds)}, {1 / seconds:.1f} per second"]
    return lines


def _starts(plan: Plan, starts: Mapping[str, Any]) -> list[str]:
    """A row for each start. "total" does not add the upload and the pipelines, because they are part of the load."""
    weights, kernels = size(plan.engine_bytes), len(plan.used)
    parts = ["python", "device", "load", "upload", "pipelines", "session", "warm-up", "first"]
    rows = [["start", *parts, "total", "CPU of pipelines", "peak memory"]]
    for name, start in starts.items():
        seconds = start["seconds"]
        whole = sum(seconds[part] for part in parts if part not in ("upload", "pipelines"))
        ends = duration(whole), duration(start["cpu"]), size(start["peak"])
        rows.append([name, *(duration(seconds[part]) for part in parts), *ends])
    return [*table(rows), f"  weights: {weights}; pipelines: {kernels}; the load does both at the same time"]


def _tables(profile: Profile, bundle: intaglio.Bundle, plan: Plan) -> list[str]:
    """The kernels of each program, the slowest first."""
    peak = profile.ceilings
    reached = f"{peak.flops / 1e9:.3g} GFLOP/s and {peak.bytes / 1e9:.3g} GB/s"
    lines = [
        "",
        f"time by {profile.method}; the roofline is the fastest that simple kernels, or these, reached: {reached}",
    ]
    for name, timing in profile.programs.items():
        by_kernel: dict[str, list[float]] = {}
        for kernel, *numbers in _steps(profile, bundle, plan, name):
            total = by_kernel.setdefault(kernel, [0.0, 0.0, 0.0, 0.0])
            for i, number in enumerate((1, *numbers)):
                total[i] += number
        total = sum(timing.steps)
        rows = [["kernel", "uses", "time", "share", "GFLOP/s", "GB/s", "of roofline"]]
        for kernel, (uses, seconds, flops, moved) in sorted(by_kernel.items(), key=lambda item: -item[1][1]):
            least = max(flops / peak.flops, moved / peak.bytes)
            per = max(seconds, 1e-12)
            rates = [f"{flops / per / 1e9:.3g}", f"{moved / per / 1e9:.3g}", f"{100 * least / per:.0f} %"]
            rows.append(
                [kernel, f"{uses:.0f}", duration(seconds), f"{100 * seconds / max(total, 1e-12):.1f} %", *rates]
            )
        lines += ["", f"program {name}: {duration(total)} in {len(timing.steps)} dispatches", *table(rows)]
    return lines
