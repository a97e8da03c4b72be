"""How wgpu is started, with no more of it than is needed; and what of it is private, which upgrades may change."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import cffi
import pytest
import wgpu

from intaglio.runtime import device, native
from intaglio.runtime.native import quicken

DECLARATIONS = """
typedef unsigned int Flags;
typedef struct Inner { int a; Flags b; } Inner;
typedef struct Outer { Inner inner; Inner *next; } Outer;
typedef void (*Callback)(Outer const *outer, void *data);
typedef enum Kind { Kind_A = 1, Kind_B = 2 } Kind;
struct plain { Kind kind; };
"""
NAMES = [
    "Outer *",
    "Inner[]",
    "Inner[3]",
    "uint8_t *",
    "uint32_t []",
    "void(*)(Outer *, Flags, void *)",
    "Callback",
    "struct plain *",
    "Kind",
    "char const *",
]


def made(quick: bool) -> cffi.FFI:
    ffi = cffi.FFI()
    ffi.cdef(DECLARATIONS)
    if quick:
        quicken(ffi)
    return ffi


@pytest.mark.parametrize("name", NAMES)
def test_quickened_names_are_the_same_types(name: str) -> None:
    quick, plain = made(True).typeof(name), made(False).typeof(name)
    assert (quick.kind, quick.cname) == (plain.kind, plain.cname)
    assert made(True).sizeof("Outer") == made(False).sizeof("Outer")


def test_a_quickened_parser_takes_more_declarations() -> None:
    ffi = made(True)
    ffi.cdef("typedef struct More { Outer outer; Flags flags; } More;")
    assert ffi.new("More *", {"outer": {"inner": {"b": 7}}}).outer.inner.b == 7
    with pytest.raises(cffi.CDefError):
        ffi.typeof("Less *")


def test_a_quickened_parser_reads_less(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    parse = cffi.cparser._get_parser().parse
    monkeypatch.setattr(cffi.cparser._get_parser(), "parse", lambda text, *a: read.append(text) or parse(text, *a))
    for quick in False, True:
        made(quick).typeof("Inner *")
    plain, quick = (text.count("typedef") for text in (read[1], read[3]))
    assert quick < plain


def alone(program: str) -> str:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_wgpu_is_started_without_opengl() -> None:
    program = "from intaglio.runtime import device; print({a.info['backend_type'] for a in device.adapters()})"
    assert "OpenGL" not in alone(program)


def test_a_process_that_uses_wgpu_already() -> None:
    program = (
        "import wgpu; wgpu.gpu.request_adapter_sync(); from intaglio.runtime import device; print(device.choose())"
    )
    assert "GPUAdapter" in alone(program)


def test_cffi_is_as_it_was() -> None:
    """If this fails, starts are slow: see native.quicken."""

    def called(ffi: Any) -> bool:
        return ffi._parser._parse.__name__ == "parse_quickly"

    from wgpu.backends.wgpu_native import ffi

    device.choose()
    assert called(ffi)


# what an upgrade of wgpu-py may change: read native.py again, then change WGPU


def test_the_version_of_wgpu() -> None:
    assert wgpu.__version__.rpartition(".")[0] == native.WGPU


@pytest.mark.parametrize(
    "function, signature",
    [
        ("wgpuComputePassEncoderSetPipeline", "void(*)(WGPUComputePassEncoderImpl *, WGPUComputePipelineImpl *)"),
        (
            "wgpuComputePassEncoderSetBindGroup",
            "void(*)(WGPUComputePassEncoderImpl *, uint32_t, WGPUBindGroupImpl *, size_t, uint32_t *)",
        ),
        (
            "wgpuComputePassEncoderDispatchWorkgroups",
            "void(*)(WGPUComputePassEncoderImpl *, uint32_t, uint32_t, uint32_t)",
        ),
        ("wgpuQueueGetTimestampPeriod", "float(*)(WGPUQueueImpl *)"),
    ],
)
def test_native_functions_take_what_they_took(function: str, signature: str) -> None:
    type = native.ffi.typeof(getattr(native.lib, function))
    short = type.cname.replace("struct ", "").replace(" const *", " *")
    assert short == signature


def test_objects_show_their_native_handles() -> None:
    opened = device.open_device()
    pass_ = opened.create_command_encoder().begin_compute_pass()
    assert native.ffi.typeof(pass_._internal) and native.ffi.typeof(opened.queue._internal)
    assert 0 < native.timestamp_period(opened) < 1e-3
    pass_.end()


def test_no_variable_of_the_environment_changes_before_an_adapter_is_asked_for() -> None:
    program = (
        "import os; before = dict(os.environ)\n"
        "from intaglio.runtime import device, engine, native\n"
        "print(dict(os.environ) == before); device.choose(); print('LP_NUM_THREADS' in os.environ)"
    )
    assert alone(program).split() == ["True", "True"]
