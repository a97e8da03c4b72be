"""Writes report.json, which tells people what a bundle computes and how much memory it takes. No program needs it."""

from __future__ import annotations

import json
from typing import Any

from intaglio.codegen.bundle.assemble import Assembled
from intaglio.codegen.shader import flops
from intaglio.compiler.models.model import Model
from intaglio.compiler.passes.pipeline import Trace
from intaglio.runtime.contract import STEP
from intaglio.runtime.plan import Plan

FILE = "report.json"


def write(model: Model, assembled: Assembled, trace: Trace) -> str:
    """Return the text of report.json."""
    return json.dumps(_report(model, assembled, trace), indent=2) + "\n"


def _report(model: Model, assembled: Assembled, trace: Trace) -> dict[str, Any]:
    plan = assembled.plan
    return {
        "kind": plan.kind,
        "precision": model.precision,
        "dispatches": {name: len(p.steps) for name, p in plan.programs.items()},
        "dispatches_per_token": len(plan.programs[STEP].steps) if STEP in plan.programs else None,
        "kernels": len(plan.used),
        "kernels_of_other_variants": len(plan.kernels) - len(plan.used),
        "flops": {name: flops(dispatches) for name, dispatches in assembled.dispatches.items()},
        "bytes": _bytes(plan),
        "notes": model.notes,
        "passes": trace.rows,
    }


def _bytes(plan: Plan) -> dict[str, Any]:
    """Return the bytes of memory: `engine` is allocated once, `session` for each session."""
    return {
        "engine": {"weights": plan.bytes_of("weight"), "total": plan.engine_bytes},
        "session": {
            "cache": plan.bytes_of("state"),
            "scratch": plan.bytes_of("scratch"),
            "inputs_and_outputs": plan.bytes_of("input") + plan.bytes_of("output"),
            "uniform": plan.uniform_bytes,
            "staging": plan.staging_bytes,
            "total": plan.session_bytes,
        },
        "total": plan.bytes,
    }
