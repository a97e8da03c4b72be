"""Vulkan layers: C files that gcc makes libraries of, and that environment variables put before a driver."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

REQUIRE = Path(__file__).parent.parent / "require.sh"
NO_COMPILER = "no C compiler with Vulkan's headers: apt-get install gcc libc6-dev libvulkan-dev (Debian), as root"
NEEDED = {"gcc": "stddef.h", "libc6-dev": "string.h", "libvulkan-dev": "vulkan/vk_layer.h"}  # package -> its header


class NoLayer(RuntimeError):
    """The layer cannot be built here, and why."""


def environment(source: Path, folder: Path) -> dict[str, str]:
    """The environment in which programs run with the layer `source`, which is built into `folder`. Raises NoLayer."""
    folder.mkdir(parents=True, exist_ok=True)
    library = folder / f"lib{source.stem}.so"
    if not library.exists() or library.stat().st_mtime < source.stat().st_mtime:
        _require_compiler()
        subprocess.run(["gcc", "-O2", "-shared", "-fPIC", "-fvisibility=hidden", source, "-o", library], check=True)
    name = f"VK_LAYER_intaglio_{source.stem}"
    manifest = {
        "name": name,
        "type": "GLOBAL",
        "library_path": str(library.absolute()),
        "api_version": "1.3.0",
        "implementation_version": "1",
        "description": f"{source.name} of Intaglio's benchmarks",
    }
    text = json.dumps({"file_format_version": "1.2.0", "layer": manifest})
    (folder / f"{name}.json").write_text(text)
    return {"VK_LAYER_PATH": str(folder.absolute()), "VK_INSTANCE_LAYERS": name}


def _require_compiler() -> None:
    for package, header in NEEDED.items():
        check = f'printf "#include <{header}>" | gcc -fsyntax-only -xc -'
        command = ["sh", REQUIRE, check, package, NO_COMPILER]
        done = subprocess.run(command, stderr=subprocess.PIPE, text=True)
        if done.returncode:
            raise NoLayer(done.stderr.strip().splitlines()[-1])
