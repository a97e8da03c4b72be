"""An engine: a bundle on a device, made once and shared by its sessions: device, tuned plan, pipelines, weights.

Weights arrive while drivers compile, because both take long and neither needs the other.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from pathlib import Path

import wgpu

from intaglio.runtime import files, tuning, weights
from intaglio.runtime.device import lock, needs, open_device, tiers, wait
from intaglio.runtime.memory import Memory
from intaglio.runtime.pipelines import Pipeline, compiling
from intaglio.runtime.plan import Plan
from intaglio.runtime.progress import Progress, silent
from intaglio.runtime.session import Session


class Engine:
    """The programs of a bundle on a device, with the kernels that the bundle was tuned to have there: see `plan`.

    device: an open device to share. allow_edited: take shaders that are not what was compiled, and list them in
    `edited`. `seconds`: how long "load" took, and in it "upload" and "pipelines", which go on at the same time.
    Raises BadBundle where files are not what the plan says, NoAdapter and DeviceLimit where the adapter will not do.
    """

    def __init__(
        self,
        folder: Path,
        plan: Plan,
        progress: Progress = silent,
        device: wgpu.GPUDevice | None = None,
        allow_edited: bool = False,
    ) -> None:
        self.edited: list[str] = []
        self.device = device or open_device(needs=needs(plan))
        self.lock = lock(self.device)
        self.plan = plan = tuning.tuned(plan, self.device.adapter_info, tiers(self.device))
        begin = time.perf_counter()
        shaders = {
            name: files.verify_file(folder, plan, kernel.file, self.edited if allow_edited else None)
            for name, kernel in plan.used.items()
        }
        with compiling(self.device, plan.used, shaders) as pipelines:
            with self.lock:
                self.weights = Memory(self.device, {i: b for i, b in enumerate(plan.buffers) if b.kind == "weight"})
            self._upload(folder, progress)
            uploaded = time.perf_counter()
            self.pipelines = dict(_completed(pipelines, progress))
        compiled = max((p.completed for p in self.pipelines.values()), default=begin)
        self.seconds = {
            "upload": uploaded - begin,
            "pipelines": compiled - begin,
            "load": time.perf_counter() - begin,
        }

    @property
    def allocated(self) -> int:
        """Bytes on the adapter that all sessions share: the weights."""
        return self.weights.allocated

    def session(self, progress: Progress = silent) -> Session:
        """A new run of the bundle, with states of its own, which begin as zeros. Raises DeviceLimit."""
        return Session(self, progress)

    def _upload(self, folder: Path, progress: Progress) -> None:
        """wgpu copies what is written and keeps the copies until the adapter has taken them: wait for that often."""
        waiting = 0
        for index, first, data in weights.stream(folder, self.plan, progress):
            with self.lock:
                self.weights.put_rows(index, first, data)
            waiting += len(data)
            if waiting >= weights.PIECE:
                wait(self.device)
                waiting = 0
        wait(self.device)


def _completed(pipelines: Mapping[str, Future[Pipeline]], progress: Progress) -> Iterator[tuple[str, Pipeline]]:
    """Each pipeline as soon as it and those before it are complete, so that the first wrong shader is the one named."""
    for count, (name, pipeline) in enumerate(pipelines.items(), 1):
        yield name, pipeline.result()
        progress("pipelines", count, len(pipelines))
