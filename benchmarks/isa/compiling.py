"""Compiles kernels of a bundle for one family, in a process of its own: a driver reads its variables only once.

`python -m benchmarks.isa.compiling BUNDLE` reads names of kernels, a line each, and prints the layer's record of each.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import wgpu

from benchmarks.adapter import ROOT
from intaglio.runtime import designs_file, plan_file
from intaglio.runtime.device import open_device
from intaglio.runtime.errors import BadBundle
from intaglio.runtime.limits import TIERS
from intaglio.runtime.pipelines import compiling
from intaglio.runtime.plan import Kernel

RECORDS = "INTAGLIO_ISA"  # the variable that names the file that the layer writes


def compiled(bundle: Path, kernels: Iterable[str], variables: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """The layer's record of each kernel, by name; {"refused": why} where the shader was refused.

    Raises CalledProcessError if the driver ends the process.
    """
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.isa.compiling", str(bundle.absolute())],
            input="\n".join(kernels),
            cwd=ROOT,
            env=os.environ | dict(variables) | {RECORDS: f"{folder}/pipelines"},
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
    return dict(json.loads(line) for line in done.stdout.splitlines())


def main(bundle: Path) -> None:
    plan = designs_file.read(bundle, plan_file.read(bundle))
    device = open_device(needs=TIERS)
    records = Path(os.environ[RECORDS])
    for name in sys.stdin.read().split():
        kernel = plan.kernels[name]
        result = _compile(device, name, kernel, (bundle / kernel.file).read_bytes(), records)
        print(json.dumps([name, result]), flush=True)


def _compile(device: wgpu.GPUDevice, name: str, kernel: Kernel, code: bytes, records: Path) -> dict[str, Any]:
    records.write_text("")
    try:
        with compiling(device, {name: kernel}, {name: code}) as pipelines:
            pipelines[name].result()
    except BadBundle as refusal:
        return {"refused": str(refusal)}
    return json.loads(records.read_text())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
