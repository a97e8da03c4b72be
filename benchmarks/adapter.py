"""The adapter that everyone is measured on, asked for in a process of its own: `python -m benchmarks.adapter`.

Dawn refuses lavapipe as it is: there its engines run with a Vulkan layer, lavapipe_layer.c, that is built here.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks import vulkan_layer

ROOT = Path(__file__).parent.parent
LAVAPIPE_LAYER = Path(__file__).with_name("lavapipe_layer.c")


@dataclass(frozen=True)
class Adapter:
    """kind: "DiscreteGPU", "IntegratedGPU", "CPU" or "Unknown"."""

    name: str
    kind: str
    backend: str
    driver: str

    @property
    def lavapipe(self) -> bool:
        return "llvmpipe" in self.name


def found() -> Adapter:
    """Raises subprocess.CalledProcessError where there is none."""
    done = subprocess.run([sys.executable, "-m", "benchmarks.adapter"], cwd=ROOT, check=True, stdout=subprocess.PIPE)
    return Adapter(**json.loads(done.stdout))


def environment(need: str, adapter: Adapter, folder: Path) -> dict[str, str]:
    """What an engine's process needs to run on this adapter; `folder` is for what is built. Raises NoLayer.

    need: "dawn"; "ggml-vulkan", or "ggml-cpu", which must be shown no GPU, or it would use it; "" for nothing.
    """
    if need == "dawn" and adapter.lavapipe:
        return vulkan_layer.environment(LAVAPIPE_LAYER, folder)
    if need == "ggml-cpu":
        return {"GGML_VK_VISIBLE_DEVICES": ""}
    if need == "ggml-vulkan" and adapter.kind == "CPU":
        return {"GGML_VK_VISIBLE_DEVICES": "0"}  # it takes a software adapter only by its number
    return {}


def caches(folder: Path) -> dict[str, str]:
    """The environment in which drivers and engines keep their caches in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    names = "XDG_CACHE_HOME", "MESA_SHADER_CACHE_DIR", "__GL_SHADER_DISK_CACHE_PATH", "CUDA_CACHE_PATH"
    return dict.fromkeys(names, str(folder.absolute()))


def main() -> None:
    from intaglio.runtime.device import choose

    info = choose().info
    print(json.dumps(asdict(Adapter(info["device"], info["adapter_type"], info["backend_type"], info["description"]))))


if __name__ == "__main__":
    main()
