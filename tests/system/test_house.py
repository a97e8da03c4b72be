"""Who may import whom. The compiler knows no buffers, the runtime knows no ONNX, and importing either stays cheap."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import networkx as nx
import pytest

ROOT = Path(__file__).parents[2]
HEAVY = {"onnx", "networkx", "torch", "transformers"}

# Folder -> what of ours it may import; intaglio, the face, may import everything.
MAY_IMPORT = {
    "compiler": {"intaglio.compiler", "intaglio.runtime.contract"},
    "codegen": {
        "intaglio.codegen",
        "intaglio.compiler",
        "intaglio.runtime.adapter_class",
        "intaglio.runtime.contract",
        "intaglio.runtime.designs_file",
        "intaglio.runtime.files",
        "intaglio.runtime.instruments.golden",
        "intaglio.runtime.instruments.provenance",
        "intaglio.runtime.limits",
        "intaglio.runtime.plan",
        "intaglio.runtime.plan_file",
        "intaglio.runtime.progress",
        "intaglio.runtime.sizes",
        "intaglio.runtime.tuning",
        "intaglio.templates",
    },
    "templates": {"intaglio.templates"},
    "runtime": {"intaglio.runtime"},
    "intaglio": {"intaglio"},
}
NEVER = {
    "compiler": {"wgpu", "torch", "transformers"},
    "codegen": {"torch", "transformers"},
    "templates": HEAVY,
    "runtime": HEAVY,
    "intaglio": HEAVY - {"onnx"},  # compile() also takes an onnx.ModelProto
}


def package(folder: str) -> str:
    return "intaglio" if folder == "intaglio" else f"intaglio.{folder}"


def folder_of(package: str) -> Path:
    """Where a package lies in this tree."""
    top, *below = package.split(".")
    return Path(*below) if below and below[0] in MAY_IMPORT else Path(top, *below)


def modules(folder: str) -> Iterator[tuple[str, Path]]:
    """Each module's full name, and its file."""
    for path in sorted((ROOT / folder).rglob("*.py")):
        parts = path.relative_to(ROOT / folder).with_suffix("").parts
        yield ".".join([package(folder), *parts]).removesuffix(".__init__"), path


def imports(module: str, source: str, is_package: bool = False) -> Iterator[str]:
    """Full names of what a module imports, at any depth of its code; `from a import b` gives a.b."""
    here = module.split(".") if is_package else module.split(".")[:-1]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = here[: len(here) - node.level + 1] if node.level else []
            start = ".".join([*above, *filter(None, [node.module])])
            yield from (f"{start}.{alias.name}" for alias in node.names)


def within(name: str, packages: set[str]) -> bool:
    return any(name == one or name.startswith(f"{one}.") for one in packages)


def wrong(folder: str, names: Iterator[str]) -> list[str]:
    """The imports that `folder` may not have."""
    ours = {"intaglio"}
    return [
        name
        for name in names
        if within(name, NEVER[folder]) or (within(name, ours) and not within(name, MAY_IMPORT[folder]))
    ]


def room(module: str, package: str) -> str:
    """Which child of `package` a module is, or is in; `package` itself is its __init__."""
    return module.removeprefix(f"{package}.").partition(".")[0] if module != package else "__init__"


def circles(arrows: Iterable[tuple[str, str]]) -> list[list[str]]:
    graph = nx.DiGraph((a, b) for a, b in arrows if a != b)
    return sorted(sorted(c) for c in nx.strongly_connected_components(graph) if len(c) > 1)


def arrows(sources: Mapping[str, Path]) -> set[tuple[str, str]]:
    """Which module imports which, at any depth of its code, and for type checkers alone too."""
    found = set()
    for module, path in sources.items():
        for name in imports(module, path.read_text(), path.name == "__init__.py"):
            while name not in sources and "." in name:
                name = name.rpartition(".")[0]
            if name in sources:
                found.add((module, name))
    return found


SOURCES = {module: path for folder in MAY_IMPORT for module, path in modules(folder)}
PACKAGES = sorted(module for module, path in SOURCES.items() if path.name == "__init__.py")
# The compiler in the order in which a model goes through it: each stage may import itself and those before it.
STAGES = ["ir", "semantics", "rewrite", "expansions", "reader", "passes", "models"]


@pytest.mark.parametrize("package", PACKAGES)
def test_no_import_circles(package):
    """Among the modules and sub-packages of a package, each sub-package taken as one."""
    inner = {m: path for m, path in SOURCES.items() if within(m, {package})}
    assert not circles((room(a, package), room(b, package)) for a, b in arrows(inner))


def test_circles_are_seen():
    assert circles([("a", "b"), ("b", "a.c"), ("a.c", "a"), ("d", "d")]) == [["a", "a.c", "b"]]
    assert (room("x.a.b", "x"), room("x", "x")) == ("a", "__init__")


def test_stages_of_the_compiler_import_no_later_one():
    compiler = "intaglio.compiler"
    inner = {m: path for m, path in SOURCES.items() if within(m, {compiler}) and m != compiler}
    assert {room(m, compiler) for m in inner} == set(STAGES)
    later = [(a, b) for a, b in arrows(inner) if STAGES.index(room(a, compiler)) < STAGES.index(room(b, compiler))]
    assert not later


@pytest.mark.parametrize("folder", MAY_IMPORT)
def test_import_directions(folder):
    found = {
        str(path.relative_to(ROOT)): names
        for module, path in modules(folder)
        if (names := wrong(folder, imports(module, path.read_text(), path.name == "__init__.py")))
    }
    assert not found


@pytest.mark.parametrize(
    "folder, module, source, expected",
    [
        ("runtime", "intaglio.runtime.plan", "def f():\n    import onnx.helper", ["onnx.helper"]),
        ("runtime", "intaglio.runtime.plan", "from intaglio.compiler import ir", ["intaglio.compiler.ir"]),
        (
            "runtime",
            "intaglio.runtime.plan",
            "from ..codegen.emit import write",
            ["intaglio.codegen.emit.write"],
        ),
        ("runtime", "intaglio.runtime.plan", "from intaglio import compile", ["intaglio.compile"]),
        ("runtime", "intaglio.runtime.plan", "from .audio import read\nimport numpy", []),
        (
            "codegen",
            "intaglio.codegen.bundle.write",
            "from intaglio.runtime import engine",
            ["intaglio.runtime.engine"],
        ),
        (
            "codegen",
            "intaglio.codegen.bundle.write",
            "from intaglio.runtime import plan\nfrom ..compiler.ir import Node",
            [],
        ),
        ("compiler", "intaglio.compiler.passes.fold", "from ..ir import Graph\nfrom . import layout", []),
        ("compiler", "intaglio.compiler.passes.fold", "from ...runtime import plan", ["intaglio.runtime.plan"]),
    ],
)
def test_the_check_itself(folder, module, source, expected):
    assert wrong(folder, imports(module, source)) == expected


@pytest.mark.parametrize("folder", ["compiler/passes", "codegen/fuse"])
def test_every_pass_has_its_tests(folder):
    """In a file of its own: numbers before and after, and near misses."""
    passes = {path.stem for path in (ROOT / folder).glob("*.py")} - {"__init__", "hosts", "pipeline"}
    tested = {path.stem.removeprefix("test_") for path in (ROOT / "tests" / folder).glob("test_*.py")}
    assert passes and not passes - tested


def test_every_package_is_installed():
    """pyproject.toml lists packages one by one: a folder it forgets works in this tree and misses from the wheel."""
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    found = {
        str(init.parent.relative_to(ROOT)) for folder in MAY_IMPORT for init in (ROOT / folder).rglob("__init__.py")
    }
    code = {str(path.parent.relative_to(ROOT)) for folder in MAY_IMPORT for _, path in modules(folder)}
    installed = {str(folder_of(name)) for name in listed}
    assert found == code == installed


def test_every_data_file_is_installed():
    """What is not Python is only in the wheel if a pattern of pyproject.toml matches it."""
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    packed = {
        path for name, globs in patterns.items() for glob in globs for path in (ROOT / folder_of(name)).glob(glob)
    }
    files = {path for folder in MAY_IMPORT for path in (ROOT / folder).rglob("*") if path.is_file()}
    data = {path for path in files if path.suffix not in (".py", ".pyc")}
    assert not sorted(str(path.relative_to(ROOT)) for path in data - packed)


@pytest.mark.parametrize("folder", sorted(MAY_IMPORT.keys() - {"intaglio"}))
def test_tools_see_the_folder(folder):
    """An editor looks for intaglio.compiler in intaglio/compiler; the import hook of an install only helps Python."""
    link = ROOT / "intaglio" / folder
    advice = f"intaglio/{folder} is not a link to {folder}: ln -s ../{folder} intaglio/{folder}"
    assert link.is_symlink() and link.samefile(ROOT / folder), advice


def test_the_runtime_loads_no_compiler():
    """In a process of its own: the face, its command line and all of the runtime, without what compiles."""
    names = [name for folder in ("intaglio", "runtime") for name, _ in modules(folder)]
    program = f"import importlib, json, sys\nfor name in {names!r}: importlib.import_module(name)\n"
    program += "print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT.anchor)
    loaded = set(json.loads(done.stdout))
    assert "intaglio.runtime" in loaded
    assert not loaded & (HEAVY | {"intaglio.compiler", "intaglio.codegen"})


def test_no_file_names_a_machine():
    """A path of the machine that made a file, in text or in a fixture, is nothing to anyone else."""
    machine_paths = [f"/{first}/{rest}".encode() for first, rest in [("work", ""), ("root", ""), ("tmp", "env")]]
    folders = [*MAY_IMPORT, "tests", "examples", "benchmarks", ".ci"]
    files = [path for folder in folders for path in (ROOT / folder).rglob("*")] + list(ROOT.glob("*"))
    mine = [path for path in files if path.is_file() and not {".git", "node_modules", "__pycache__"} & set(path.parts)]
    found = [str(path.relative_to(ROOT)) for path in mine if any(bad in path.read_bytes() for bad in machine_paths)]
    assert not found
