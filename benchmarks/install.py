"""Install what the engines need beside the `benchmark` extra: `python -m benchmarks.install`.

Each by itself and from wheels alone: an engine that has none for this platform is left out, and the others run.
"""

from __future__ import annotations

import subprocess
import sys

from benchmarks.engines import ENGINES


def main() -> None:
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--only-binary", ":all:"]
    for requirements in dict.fromkeys(listed.requirements for listed in ENGINES.values() if listed.requirements):
        done = subprocess.run([*pip, *requirements], stderr=subprocess.PIPE, text=True)
        if done.returncode:
            errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
            print(f"left out: {', '.join(requirements)}: {errors[-1] if errors else 'pip failed'}", flush=True)


if __name__ == "__main__":
    main()
