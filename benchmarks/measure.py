"""One measurement, in a process of its own, so that its memory and its processor time are that engine's alone.

`python -m benchmarks.measure JOB.json` writes result.json, and rows.npy if numbers are to be compared, beside the job.
"""

from __future__ import annotations

import json
import os
import re
import resource
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

# Mesa complains on standard error when this is unset.
os.environ.setdefault("XDG_RUNTIME_DIR", "/tmp")


def main(job_file: Path) -> None:
    job = json.loads(job_file.read_text())
    result, rows = measured(job)
    if rows is not None:
        import numpy as np

        np.save(job_file.with_name("rows.npy"), rows)
    job_file.with_name("result.json").write_text(json.dumps(result))


def measured(job: dict[str, Any]) -> tuple[dict[str, Any], Any]:
    """What a job gives: {"skipped": why} or numbers; and the rows to compare.

    job: engine, workload, size, build (folder), square, recording, tokens, began (time.time() at the start).
    """
    from benchmarks.engines import engine as engine_of
    from benchmarks.engines.engine import Unsupported
    from benchmarks.models import Models
    from benchmarks.workloads import SIZES, WORKLOADS, Inputs

    inputs = Inputs(Path(job["recording"]), job["tokens"], job["square"])
    model, workload = WORKLOADS[job["workload"]]
    try:
        engine = engine_of(job["engine"])(Models(Path(job["build"]), job["square"]))
        engine.load(model)
        result = workload(engine, inputs, SIZES[job["size"]])
    except ImportError as missing:
        return {"skipped": f"{missing.name or missing} is not installed"}, None
    except Unsupported as reason:
        return {"skipped": str(reason)}, None
    assert result.start is not None  # every workload runs once at least
    return {
        "version": engine.version,
        "adapter": engine.adapter(),
        "start": {"wall": result.start.wall - job["began"], "cpu": result.start.cpu},
        "runs": {figure: [asdict(s) for s in runs] for figure, runs in result.runs.items()},
        "tokens": result.tokens,
        "work": result.work,
        "peak": peak(),
    }, result.rows


def peak() -> int:
    """Peak memory of this process in bytes. Linux counts in ru_maxrss what its parent had when it forked."""
    status = Path("/proc/self/status")
    if status.exists() and (most := re.search(r"VmHWM:\s+(\d+) kB", status.read_text())):
        return 1024 * int(most[1])
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else 1024 * most


if __name__ == "__main__":
    main(Path(sys.argv[1]))
