"""An estimate of the part of a GPU's roof that a bundle reaches, without the GPU: `python -m benchmarks.roof BUNDLE`.

The roof is what arithmetic or memory take at their peak, whichever is more. What keeps a dispatch from it, and how that
is estimated:

- A dispatch begins when the one before has ended, which takes `launch` seconds.
- Lanes of a wave that its workgroup does not fill are idle.
- Of the instructions only those that multiply and add count as work: what part they are is read off the kernel as AMD's
  compiler leaves it, loop or not, spills included.
- As many lanes run at once as there are registers for. Arithmetic needs CHAINS operations in flight for each of the
  chip's lanes; an invocation has ILP of them.
- Memory answers after `latency` seconds, so that a byte a second needs `latency` bytes in flight. A lane has as many in
  flight as it loads in an iteration of its innermost loop, up to FLIGHT.
- Of the memory lines that are touched only a part is read (benchmarks/lines).

Caches, bank conflicts and clocks that fall are left out, so a kernel may well be slower. Peaks are those that
vendors publish, launches and latencies what is commonly measured, for one or two chips of each class.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

from benchmarks.isa import choices, rows
from benchmarks.isa.figures import Figures
from benchmarks.lines.count import counted, of_weights
from intaglio.runtime import designs_file, plan_file
from intaglio.runtime.instruments import provenance
from intaglio.runtime.instruments.provenance import Graph
from intaglio.runtime.plan import Dispatch, Plan
from intaglio.runtime.sizes import workgroups
from intaglio.runtime.tuning import of_class

CHAINS, ILP = 5, 4  # cycles of an operation; operations of an invocation that do not wait for each other
FLIGHT = 256  # bytes of a lane
REGISTERS, USEFUL = 64, 0.5  # of a lane, and of its instructions, where no table of `make isa` says it
WARP = 32  # for the lines that it touches
SYMBOLS = {"new_tokens": 256, "past": 128}


@dataclass(frozen=True)
class Chip:
    """flops, bandwidth: operations and bytes a second. lanes: those that compute at a time. resident: the most that
    take turns. registers: of 32 bits, in all. wave: lanes that run together. line: bytes. latency, launch: seconds.
    """

    adapter_class: str
    flops: float
    bandwidth: float
    lanes: int
    resident: int
    registers: int
    wave: int
    line: int
    latency: float
    launch: float


CHIPS = {
    "H200": Chip("nvidia", 67e12, 4.8e12, 16_896, 270_336, 132 << 16, 32, 32, 700e-9, 2e-6),
    "RTX 4090": Chip("nvidia", 82e12, 1.01e12, 16_384, 196_608, 128 << 16, 32, 32, 600e-9, 2e-6),
    "RX 7900 XTX": Chip("amd", 61e12, 0.96e12, 12_288, 98_304, 192 * 1536 * 32, 32, 64, 700e-9, 3e-6),
    "M2": Chip("apple", 3.6e12, 0.1e12, 1_280, 30_720, 10 * 53_248, 32, 64, 500e-9, 5e-6),
    "Iris Xe": Chip("intel", 2.1e12, 0.068e12, 768, 10_752, 96 * 7 * 1024, 16, 64, 400e-9, 5e-6),
    "Adreno 740": Chip("mobile", 2.1e12, 0.067e12, 1_536, 24_576, 12 * 32_768, 64, 64, 600e-9, 5e-6),
}


@dataclass(frozen=True)
class Work:
    """A dispatch. size: invocations of a workgroup. share: of the touched lines of memory that is read, by the bytes of
    a line. flight: bytes that a lane has in flight. registers: of a lane. useful: of its instructions.
    """

    kernel: str
    groups: int
    size: int
    flops: int
    bytes: int
    shares: Mapping[int, float]
    flight: int
    registers: int
    useful: float

    def roof(self, chip: Chip) -> float:
        """Seconds."""
        return max(self.flops / chip.flops, self.bytes / chip.bandwidth)

    def estimate(self, chip: Chip) -> float:
        """Seconds."""
        filled = self.size / (-(-self.size // chip.wave) * chip.wave)
        running = min(self.groups * self.size, filled * min(chip.resident, chip.registers // self.registers))
        arithmetic = chip.flops * self.useful * min(filled, running * ILP / (chip.lanes * CHAINS))
        in_flight = running * min(self.flight, FLIGHT)
        memory = min(chip.bandwidth * self.shares[chip.line], in_flight / chip.latency)
        return chip.launch + max(self.flops / arithmetic, self.bytes / memory, chip.latency)


def works(
    folder: Path, plan: Plan, graph: Graph, program: str, symbols: Mapping[str, int], figures: Mapping[str, Figures]
) -> list[Work]:
    """The dispatches of a program, in order. figures: by kernel.

    Of the dispatches of a step the first does the step's work; those that follow only take the time of a dispatch.
    """
    loads: dict[str, tuple[dict[int, float], int]] = {}
    result = []
    for i, step in enumerate(plan.programs[program].steps):
        work = graph.cost(plan, program, i, symbols)
        for d in step.at(symbols):
            if d.kernel not in loads:
                loads[d.kernel] = _loads(folder, plan, d)
            size = prod(choices.workgroup(folder, plan, d.kernel))
            groups = prod(workgroups(d.grid, symbols))
            own = figures.get(d.kernel)
            registers, useful = ((own.registers or REGISTERS), own.useful) if own else (REGISTERS, None)
            result.append(Work(d.kernel, groups, size, *work, *loads[d.kernel], registers, useful or USEFUL))
            work = 0, 0
    return result


def _loads(folder: Path, plan: Plan, of: Dispatch) -> tuple[dict[int, float], int]:
    """What is read of the lines of weights, by the bytes of a line, and what a lane has in flight."""
    uses = counted(folder, plan, of.kernel, of.buffers, of.grid)
    shares = of_weights(uses)
    return {line: shares[WARP, line] for _, line in shares}, max((use.flight for use in uses), default=16)


@dataclass(frozen=True)
class Estimate:
    """Seconds of a program on a chip, and of its slowest kernel, all dispatches of it."""

    program: str
    chip: str
    dispatches: int
    roof: float
    seconds: float
    slowest: str
    slowest_seconds: float

    @property
    def share(self) -> float:
        return self.roof / self.seconds


def estimate(program: str, chip: str, works: Sequence[Work]) -> Estimate:
    own = CHIPS[chip]
    seconds: dict[str, float] = defaultdict(float)
    for work in works:
        seconds[work.kernel] += work.estimate(own)
    slowest = max(seconds, key=lambda kernel: seconds[kernel])
    roof, total = sum(work.roof(own) for work in works), sum(seconds.values())
    return Estimate(program, chip, len(works), roof, total, slowest, seconds[slowest])


def estimates(
    folder: Path, figures: Mapping[str, Figures], symbols: Mapping[str, int], adapter_class: str = ""
) -> Iterator[Estimate]:
    """Of every program on every chip, with the variants that the chip's class runs, or this one."""
    plan = designs_file.read(folder, plan_file.read(folder))
    graph = provenance.read(folder, plan)
    values = {name: min(max(low, symbols.get(name, low)), high) for name, (low, high) in plan.symbols.items()}
    for program in plan.programs:
        for name, chip in CHIPS.items():
            chosen = of_class(plan, adapter_class or chip.adapter_class)
            yield estimate(program, name, works(folder, chosen, graph, program, values, figures))


def table(rows: Iterable[Estimate]) -> str:
    lines = ["| program | chip | dispatches | roof | estimate | of the roof | slowest kernel |", "|---" * 7 + "|"]
    for row in rows:
        slowest = f"{row.slowest}, {row.slowest_seconds / row.seconds:.0%}"
        times = f"{_time(row.roof)} | {_time(row.seconds)} | {100 * row.share:.2g} %"
        lines.append(f"| {row.program} | {row.chip} | {row.dispatches} | {times} | {slowest} |")
    return "\n".join(lines)


def _time(seconds: float) -> str:
    return f"{seconds * 1e3:.3g} ms"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.roof", description=(__doc__ or "").partition(":")[0])
    parser.add_argument("bundles", metavar="BUNDLE", nargs="+", type=Path)
    parser.add_argument("--isa", type=Path, help="isa.json of `make isa`, for registers and instructions")
    parser.add_argument("--set", metavar="SYMBOL=VALUE", nargs="+", default=[], help="sizes of the programs")
    parser.add_argument("--adapter-class", metavar="CLASS", default="", help="its variants on every chip")
    options = parser.parse_args()
    own = {name: int(value) for name, value in (pair.split("=") for pair in options.set)}
    table_rows = rows.read(options.isa.read_text()) if options.isa else []
    figures = {row.kernel: row.figures for row in reversed(table_rows) if row.figures}  # the first family counts
    for bundle in options.bundles:
        print(f"### {bundle.stem}\n\n{table(estimates(bundle, figures, SYMBOLS | own, options.adapter_class))}\n")


if __name__ == "__main__":
    main()
