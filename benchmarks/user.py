"""`intaglio run` as a user starts it: `python -m benchmarks.user COMMAND...` runs a command and tells what it took.

This program imports nothing large: Linux counts the memory of who starts a process to that process's peak.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time


def main(command: list[str]) -> None:
    begin = time.monotonic()
    started = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(started.pid, 0)
    peak = used.ru_maxrss if sys.platform == "darwin" else 1024 * used.ru_maxrss
    print(json.dumps({"wall": time.monotonic() - begin, "cpu": used.ru_utime + used.ru_stime, "peak": peak}))
    sys.exit(os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    main(sys.argv[1:])
