"""Everything that is measured on a GPU, in order of importance, until time is up: `python -m benchmarks.gpu FOLDER`.

Each measurement is a process of its own. What came out is written after each, so that nothing is lost when time is up.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import adapter
from benchmarks.gpu import report
from benchmarks.gpu.models import LLAMAS, SMALL, SQUARE, llama_bundle
from benchmarks.models import ROOT, Models

KEYS = ("128", "1024", "8064")  # the last one leaves room for what is decoded
TOKENS = 32
CLASS = "INTAGLIO_ADAPTER_CLASS"
OURS, THEIRS = "intaglio", "onnxruntime-webgpu"


@dataclass(frozen=True)
class Measurement:
    """name: what is measured, and by whom. arguments: of Python. result: the file that it writes; it prints JSON
    otherwise. variables: of its environment.
    """

    name: str
    arguments: Sequence[object]
    result: Path | None = None
    variables: Mapping[str, str] = field(default_factory=dict)


def measurements(models: Models, found: adapter.Adapter, smoke: bool) -> Iterator[Measurement]:
    yield Measurement("ceilings", ["-m", "benchmarks.ceilings"])
    yield Measurement("micro", ["-m", "benchmarks.gpu.micro", *["--smoke"] * smoke])
    dawn = adapter.environment("dawn", found, models.made / "layer")
    engines = {OURS: {}, f"{OURS}, class cpu": {CLASS: "cpu"}, THEIRS: dawn}
    tokens, keys = (2, KEYS[:2]) if smoke else (TOKENS, KEYS)
    for name, variables in engines.items():
        engine = name.partition(",")[0]
        model = models.bundle("smollm2-q4") if engine == OURS else models.language_onnx("smollm2-q4")
        yield Measurement(f"smollm2-q4: {name}", [*_decode(engine), model, tokens, *keys], variables=variables)
    for workload in ("matvec", "matmul", "encode"):
        for name, variables in engines.items():
            job = _job(models, workload, name, "quick" if smoke else "full")
            command = ["-m", "benchmarks.measure", job]
            yield Measurement(f"{workload}: {name}", command, job.with_name("result.json"), variables)
    for name in ["llama-smoke"] if smoke else ["llama-1b", "llama-8b"]:
        for layers in LLAMAS[name][2]:
            bundle = llama_bundle(models, name, layers)
            few = keys[:1] if smoke else keys
            yield Measurement(f"{name}-{layers}: {OURS}", [*_decode(OURS), bundle, tokens, *few])
    profile = ["-m", "intaglio", "bench", models.bundle("smollm2-q4"), "--profile", "--json"]
    yield Measurement("profile", [*profile, *["--runs", "3"] * smoke])


def _decode(engine: str) -> list[str]:
    return ["-m", "benchmarks.gpu.decode", engine]


def _job(models: Models, workload: str, name: str, size: str) -> Path:
    folder = models.made / "run" / f"{workload}-{name.replace(', ', '-').replace(' ', '-')}"
    folder.mkdir(parents=True, exist_ok=True)
    job = {
        "engine": name.partition(",")[0],
        "workload": workload,
        "size": size,
        "build": str(models.build),
        "square": models.square,
        "recording": str(ROOT / "examples" / "jfk.wav"),
        "tokens": [],
        "began": time.time(),
    }
    (folder / "job.json").write_text(json.dumps(job))
    return folder / "job.json"


def measured(of: Measurement, seconds: float) -> dict[str, Any]:
    """What a measurement gives, or {"skipped": why}."""
    command = [sys.executable, *map(str, of.arguments)]
    environment = os.environ | dict(of.variables)
    try:
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=seconds)
    except subprocess.TimeoutExpired:
        return {"skipped": f"it took more than {seconds:.0f} s"}
    if done.returncode:
        return {"skipped": (done.stderr.strip().splitlines() or [f"it ended with status {done.returncode}"])[-1]}
    return json.loads(of.result.read_text() if of.result else done.stdout)


def main() -> int:
    options = _options()
    end = time.monotonic() + options.seconds
    folder = options.folder.absolute()
    models = Models(folder, SMALL if options.smoke else SQUARE)
    found = adapter.found()
    results: dict[str, Any] = {"adapter": f"{found.name}, {found.driver}"}
    for each in measurements(models, found, options.smoke):
        left = end - time.monotonic()
        results[each.name] = measured(each, min(left, options.most)) if left > 5 else {"skipped": "time is up"}
        print(f"{each.name}: {results[each.name].get('skipped', 'measured')}", file=sys.stderr, flush=True)
        (folder / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    text = report.markdown(results)
    (folder / "results.md").write_text(f"{text}\n")
    print(text)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=(__doc__ or "").partition(":")[0])
    parser.add_argument("folder", metavar="FOLDER", type=Path, help="that benchmarks.gpu.models made")
    parser.add_argument("--smoke", action="store_true", help="its models are small ones, to try the script")
    parser.add_argument("--seconds", type=float, default=570, help="when time is up (default: 570)")
    parser.add_argument("--most", type=float, default=90, help="seconds of a measurement (default: 90)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
