"""What strangers and broken disks bring: models with flipped bits, missing fields, absurd numbers, nodes read wrongly.

    python tests/support/fuzz.py VICTIM [FIRST] [COUNT]    tries these mutants, a line of JSON for each

Every mutant must be refused by a typed error, or compile; where onnxruntime takes it, it must give the same numbers.
It runs in a process of its own with little memory, so that what does not end, or fit, or survive is seen from outside.
"""

from __future__ import annotations

import json
import random
import resource
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import Message
from graphs import model
from parity import assert_equal, graph_of, onnxruntime_outputs, opened

from intaglio.codegen.bundle import write
from intaglio.codegen.fuse.pipeline import fuse
from intaglio.codegen.lower import lower
from intaglio.compiler.ir.errors import BadModel
from intaglio.compiler.models import families
from intaglio.compiler.models.model import Model
from intaglio.compiler.passes.pipeline import Trace
from intaglio.compiler.passes.quantize import Precision
from intaglio.compiler.reader import load

FIXTURES = Path(__file__).parents[1] / "fixtures"
MEMORY = 6 << 30  # bytes of address space, of which the libraries take some 3 GiB
SECONDS = 60  # that a mutant may take
RUN_EVERY = 8  # of those that compile, one is run
ABSURD = [0, 1, -1, 2, 3, 7, 255, 1 << 16, 1 << 31, (1 << 31) - 1, 1 << 40, (1 << 63) - 1, -(1 << 63)]

EVERYTHING = """
    main (bool[1] cached, float[1,T,8] x, int64[1,T] ids) => (float y, float z) <
        float[8] row = {1,2,3,4,5,6,7,8}, int64[1] i0 = {0}, int64[1] i1 = {1}, int64[1] far = {9223372036854775807},
        int64 n0 = {0}, int64 n1 = {1}, int64[1] minus = {-1}, int64[2] halves = {4, 4}, float half = {0.5},
        int64[4] split = {1, -1, 2, 4}
    > {
        s = Shape(x) t = Gather(s, n1) t1 = Unsqueeze(t, i0) r = Range(n0, t, n1)
        f = Cast<to=1>(r) u = Unsqueeze(f, i1) v = ConstantOfShape<value = float[1] {1.0}>(t1) w = Expand(u, t1)
        shape = Concat<axis=0>(i1, t1, minus) a = Reshape(x, shape) b = Slice(a, i0, far, i1)
        table = Constant<value = float[3,8] {1,2,3,4,5,6,7,8,1,2,3,4,5,6,7,8,1,2,3,4,5,6,7,8}>()
        e = Gather(table, ids) g = Add(b, e) h = LayerNormalization<axis=-1>(g, row, row)
        p, q = Split<axis=2>(h, halves) m = Concat<axis=-1>(q, p) c = Greater(m, half) k = Where(c, m, half)
        heads = Reshape(k, split) j = Transpose<perm=[0,2,1,3]>(heads) l = Softmax<axis=-1>(j)
        n = ReduceMean<keepdims=1>(l, minus) o = Tile(n, split_ones) y = Pad(o, pads, half)
        z = If(cached) <
            then_branch = one () => (float aa) { ab = Clip(x, half) aa = Squeeze(ab, i0) },
            else_branch = two () => (float ba) {
                bb = MatMul(x, eye) rows = Squeeze(bb, i0) ba = Gemm<alpha=0.5>(rows, eye)
            }
        >
    }
"""
MORE = """
    main (float[1,3,12] x, uint8[2,6] q) => (float[1,4,k] y, float[2,4] z, float[3,1,3] all) <
        float[4,3,3] w = {WEIGHTS}, int64 trips = {3}, bool go = {1}, int64[1] one = {1}, float scale = {0.1},
        uint8 zero = {128}, int64[1] two = {2}, int64 axis = {1}, float[1,3] nothing = {0, 0, 0}
    > {
        c = Conv<pads=[1,1], strides=[2]>(x, w) p = MaxPool<kernel_shape=[2], ceil_mode=1>(c) e = Celu(p)
        r = Resize<mode="linear">(e, , scales) y = LpNormalization(r)
        d = DequantizeLinear(q, scale, zero) m = MatMulInteger(q, codes, zero) f = Cast<to=1>(m) s = Softsign(f)
        n = CumSum(s, axis) v, i = TopK(n, two) g = GatherElements<axis=1>(n, i) z = Concat<axis=1>(v, g)
        last, all = Loop(trips, go, nothing) <
            body = again (int64 step, bool on, float[1,3] before) => (bool on2, float[1,3] after, float[1,3] seen) {
                number = Cast<to=1>(step) after = Add(before, number) seen = Mul(after, scale) on2 = Identity(on)
            }
        >
    }
"""


@dataclass(frozen=True)
class Victim:
    """A model that is well; what is bound when it is compiled; and the export, if any, that `file` is part of."""

    content: bytes
    bind: dict[str, np.ndarray] = field(default_factory=dict)
    export: Path | None = None
    file: str = "model.onnx"


@cache
def victims() -> dict[str, Victim]:
    shapes = {"split_ones": np.array([1, 1, 1, 2]), "pads": np.zeros(8, np.int64), "eye": np.eye(8, dtype=np.float32)}
    scales = {"scales": np.array([1, 1, 1.5], np.float32), "codes": np.arange(30, dtype=np.uint8).reshape(6, 5)}
    weights = ", ".join(f"{i % 7 - 3}.0" for i in range(36))
    made = {
        "everything": Victim(model(EVERYTHING, shapes).SerializeToString(), {"cached": np.array([True])}),
        "more": Victim(model(MORE.replace("WEIGHTS", weights), scales).SerializeToString()),
    }
    for name in ("cnn-dynamo-18", "mlp-torchscript-11"):
        made[name] = Victim((FIXTURES / name / "model.onnx").read_bytes())
    for name, file in (("llama-optimum-18", "model.onnx"), ("whisper-merged-18", "decoder_model_merged.onnx")):
        made[name] = Victim((FIXTURES / name / file).read_bytes(), {}, FIXTURES / name, file)
    return made


# mutants


def fields(message: Message) -> Iterator[tuple[Message, str, int | None]]:
    """Every field of a message and of those inside it; for a repeated one, each of its elements."""
    for described, value in message.ListFields():
        repeated = hasattr(value, "append") or hasattr(value, "add")
        for i, one in enumerate(value) if repeated else [(None, value)]:
            yield message, described.name, i
            if isinstance(one, Message):
                yield from fields(one)


def flip(whole: bytes, dice: random.Random) -> bytes:
    broken = bytearray(whole)
    for _ in range(dice.choice((1, 1, 2, 5))):
        broken[dice.randrange(len(broken))] ^= 1 << dice.randrange(8)
    return bytes(broken)


def cut(whole: bytes, dice: random.Random) -> bytes:
    return whole[: dice.randrange(len(whole))]


def drop(whole: bytes, dice: random.Random) -> bytes:
    m = onnx.ModelProto.FromString(whole)
    message, name, i = dice.choice(list(fields(m)))
    if i is None:
        message.ClearField(name)
    else:
        del getattr(message, name)[i]
    return m.SerializeToString()


def inflate(whole: bytes, dice: random.Random) -> bytes:
    """An absurd number where there is some other."""
    m = onnx.ModelProto.FromString(whole)
    numbers = [(o, n, i) for o, n, i in fields(m) if type(getattr(o, n) if i is None else getattr(o, n)[i]) is int]
    message, name, i = dice.choice(numbers)
    try:
        if i is None:
            setattr(message, name, dice.choice(ABSURD))
        else:
            getattr(message, name)[i] = dice.choice(ABSURD)
    except ValueError:  # the field is of 32 bits
        return drop(whole, dice)
    return m.SerializeToString()


def confuse(whole: bytes, dice: random.Random) -> bytes:
    """A node that reads another value, or computes something else."""
    m = onnx.ModelProto.FromString(whole)
    node, other = dice.choice(m.graph.node), dice.choice(m.graph.node)
    values = [name for n in m.graph.node for name in (*n.input, *n.output)]
    if node.input and dice.random() < 0.6:
        node.input[dice.randrange(len(node.input))] = dice.choice(values)
    else:
        node.op_type = other.op_type
    return m.SerializeToString()


MUTATIONS: list[Callable[[bytes, random.Random], bytes]] = [flip, cut, drop, inflate, inflate, confuse, confuse]


# their fate


def attempt(name: str, seed: int, folder: Path) -> dict[str, Any]:
    """What became of a mutant: "refused", "compiled", "equal" or "broken", and why."""
    victim, dice = victims()[name], random.Random(f"{name} {seed}")
    mutation = dice.choice(MUTATIONS)
    mutant = replace(victim, content=mutation(victim.content, dice))
    told = {"victim": name, "seed": seed, "mutation": mutation.__name__}
    signal.alarm(SECONDS)
    try:
        return told | {"fate": fate(mutant, folder, run=seed % RUN_EVERY == 0)}
    except BadModel as e:
        return told | {"fate": "refused" if str(e) else "broken", "why": str(e)[:200]}
    except BaseException:  # whatever it is, a stranger must not see it
        return told | {"fate": "broken", "why": traceback.format_exc()[-2000:]}
    finally:
        signal.alarm(0)


def fate(victim: Victim, folder: Path, run: bool) -> str:
    """Compile a model in an empty folder, and `run` it beside onnxruntime if it is one alone."""
    if victim.export is not None:
        for path in victim.export.iterdir():
            (folder / path.name).symlink_to(path)
        (folder / victim.file).unlink()
    (folder / victim.file).write_bytes(victim.content)
    if victim.export is not None:
        graphs = families.compile(folder, Trace(), Precision()).graphs
        fuse(graphs, Trace())
        for graph in graphs.values():
            lower(graph)
        return "compiled"
    proto = load.read(folder / victim.file)
    graph = graph_of(proto, victim.bind)
    if not run:
        lower(graph)
        return "compiled"
    write.write(Model("model", {"main": graph}), folder / "bundle", Trace())
    return compare(proto, victim.bind, folder / "bundle")


def compare(proto: onnx.ModelProto, bind: dict[str, np.ndarray], folder: Path) -> str:
    """ "equal" to onnxruntime, which may not take the model: "compiled". Raises AssertionError."""
    session = opened(folder)
    program = session.plan.programs["main"]
    dice = np.random.default_rng(0)
    feeds = {}
    for name, i in program.inputs.items():
        buffer = session.plan.buffers[i]
        shape = [d if isinstance(d, int) else 3 for d in buffer.shape]
        feeds[name] = dice.integers(0, 2, shape).astype(load.DTYPES[buffer.dtype])
    try:
        expected = onnxruntime_outputs(proto, feeds | bind)
    except Exception:  # its errors have no type of their own
        return "compiled"
    assert_equal(session.run("main", feeds), expected, rtol=1e-3, atol=1e-3)
    return "equal"


def overdue(signum: int, frame: Any) -> None:
    raise TimeoutError(f"it took more than {SECONDS} s")


def main() -> None:
    name, first, count = (*sys.argv[1:], "0", "100")[:3]
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    signal.signal(signal.SIGALRM, overdue)
    for seed in range(int(first), int(first) + int(count)):
        with tempfile.TemporaryDirectory() as folder, np.errstate(all="ignore"):
            print(json.dumps(attempt(name, seed, Path(folder))), flush=True)


if __name__ == "__main__":
    main()
