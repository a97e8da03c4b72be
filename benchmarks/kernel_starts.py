"""CPU seconds to compile each kernel that a bundle runs: `python -m benchmarks.kernel_starts BUNDLE [--least SECONDS]`.

Some drivers compile when a pipeline is made, others at its first dispatch, so both count. Mesa's cache of shaders is
empty. VK_DRIVER_FILES chooses the driver. `benchmarks.isa` has the seconds of RADV, which needs no GPU there.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

from intaglio.runtime import designs_file, plan_file, tuning
from intaglio.runtime.device import open_device, tiers
from intaglio.runtime.warm_up import FirstDispatches


def seconds(folder: Path) -> dict[str, float]:
    """CPU seconds by kernel, the longest first."""
    device = open_device()
    plan = tuning.tuned(designs_file.read(folder, plan_file.read(folder)), device.adapter_info, tiers(device))
    first = FirstDispatches(device, plan)
    times: dict[str, float] = {}
    for dispatch in plan.possible:
        if dispatch.kernel not in times:
            code = (folder / plan.kernels[dispatch.kernel].file).read_bytes()
            begin = time.process_time()
            first.put(dispatch, code)
            times[dispatch.kernel] = time.process_time() - begin
    return dict(sorted(times.items(), key=lambda item: -item[1]))


def main() -> None:
    parser = argparse.ArgumentParser(description="CPU seconds to compile each kernel of a bundle")
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--least", type=float, default=0.2, help="leave kernels out that take less (default: 0.2)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as cache:
        os.environ["MESA_SHADER_CACHE_DIR"] = cache
        times = seconds(options.bundle)
    print("| kernel | CPU s |\n|---|---|")
    for name, each in times.items():
        if each >= options.least:
            print(f"| {name} | {each:.2f} |")
    print(f"| all {len(times)} | {sum(times.values()):.2f} |")


if __name__ == "__main__":
    main()
