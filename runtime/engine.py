"""An engine: a bundle on a device. Its pipelines and weights are made once and shared by its sessions.

Weights are uploaded while drivers compile, because both take long and neither needs the other.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from pathlib import Path

import wgpu

from intaglio.runtime import files, tuning, weights
from intaglio.runtime.contract import ON_DEMAND
from intaglio.runtime.device import lock, needs, open_device, tiers, wait
from intaglio.runtime.memory import Memory
from intaglio.runtime.pipelines import Pipeline, compiling
from intaglio.runtime.plan import Plan
from intaglio.runtime.progress import Progress, silent
from intaglio.runtime.session import Session


class Engine:
    """The programs of a bundle on a device. `plan` has the variants for this adapter. `pipelines`: those of ON_DEMAND
    programs follow at their first run.

    device: an open device to share. adapter: which one to open otherwise, as for `device.choose`.
    allow_edited: accept shaders that were edited after compiling; `edited` lists them.
    `seconds`: the time of "load", and in it of "upload" and "pipelines", which run at the same time.
    `cpu`: the CPU seconds of the threads that compiled the pipelines.
    Raises BadBundle if files differ from the plan, NoAdapter, UnknownAdapter, DeviceLimit.
    """

    def __init__(
        self,
        folder: Path,
        plan: Plan,
        progress: Progress = silent,
        device: wgpu.GPUDevice | None = None,
        allow_edited: bool = False,
        adapter: str | int | None = None,
    ) -> None:
        self.edited: list[str] = []
        self.device = device or open_device((), needs(plan, adapter), adapter)
        self.lock = lock(self.device)
        self.plan = plan = tuning.tuned(plan, self.device.adapter_info, tiers(self.device))
        begin = time.perf_counter()
        self._shaders = {
            name: files.verify_file(folder, plan, kernel.file, self.edited if allow_edited else None)
            for name, kernel in plan.used.items()
        }
        kernels = plan.used_by(name for name in plan.programs if name not in ON_DEMAND)
        with compiling(self.device, kernels, self._shaders) as pipelines:
            with self.lock:
                self.weights = Memory(self.device, {i: b for i, b in plan.in_use.items() if b.kind == "weight"})
            self._upload(folder, progress)
            uploaded = time.perf_counter()
            self.pipelines = dict(_completed(pipelines, progress))
        compiled = max((p.completed for p in self.pipelines.values()), default=begin)
        self.cpu = sum(p.cpu for p in self.pipelines.values())
        self.seconds = {
            "upload": uploaded - begin,
            "pipelines": compiled - begin,
            "load": time.perf_counter() - begin,
        }

    @property
    def allocated(self) -> int:
        """Bytes on the adapter that all sessions share: the weights."""
        return self.weights.allocated

    def complete(self, program: str) -> None:
        """Compile the pipelines of a program that are not there yet. Raises BadBundle for a shader that is refused."""
        used = self.plan.used_by([program])
        missing = {name: kernel for name, kernel in used.items() if name not in self.pipelines}
        with self.lock, compiling(self.device, missing, self._shaders) as pipelines:
            self.pipelines |= dict(_completed(pipelines, silent))

    def session(self, progress: Progress = silent) -> Session:
        """A new session, whose states begin as zeros. Raises DeviceLimit."""
        return Session(self, progress)

    def _upload(self, folder: Path, progress: Progress) -> None:
        """Upload the weights. wgpu keeps a copy of each write until the adapter has taken it, so this waits often."""
        waiting = 0
        for index, first, data in weights.stream(folder, self.plan, self.plan.in_use, progress):
            with self.lock:
                self.weights.put_rows(index, first, data)
            waiting += len(data)
            if waiting >= weights.PIECE:
                wait(self.device)
                waiting = 0
        wait(self.device)


def _completed(pipelines: Mapping[str, Future[Pipeline]], progress: Progress) -> Iterator[tuple[str, Pipeline]]:
    """The pipelines in order as they complete, so that an error names the first wrong shader."""
    for count, (name, pipeline) in enumerate(pipelines.items(), 1):
        yield name, pipeline.result()
        progress("pipelines", count, len(pipelines))
