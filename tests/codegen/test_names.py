"""Names of shaders: details where several would be called alike, and only there."""

from __future__ import annotations

from dataclasses import replace

from intaglio.codegen.kernel import Kernel
from intaglio.codegen.lower import Dispatch
from intaglio.codegen.names import names
from intaglio.codegen.shader import Shader
from intaglio.compiler.ir.dims import Dim, Symbol, dim
from intaglio.compiler.ir.nodes import Node
from intaglio.compiler.ir.values import TensorType, Value

T = dim(Symbol("new_tokens", 1, 64))


def value(name: str, *shape: Dim) -> Value:
    return Value(name, TensorType("f32", shape))


def kernel(label: str, out: tuple[Dim, ...] = (1, 8), **reads: tuple[Dim, ...]) -> Kernel:
    inputs = {name: value(name, *shape) for name, shape in reads.items()}
    return Kernel("matmul", inputs, {"y": value("y", *out)}, label=label)


def shader(kernel: Kernel, *programs: str, variant: str = "") -> Shader:
    dispatch = Dispatch(kernel, Node("Linear", (), (value("y", 1),), {}, ()), {})
    access = ("read buffer",) * len(kernel.reads) + ("write buffer",)
    return Shader("", str(id(kernel)), access, False, variant, [(program, dispatch) for program in programs])


def test_a_kernel_alone_is_its_label_and_what_is_fused() -> None:
    gelu = replace(kernel("matmul_8x8"), tail=(("Gelu", "acc"),))
    assert names([shader(kernel("matmul_8x8"), "main"), shader(gelu, "main")]) == ["matmul_8x8", "matmul_8x8_gelu"]


def test_programs_tell_apart() -> None:
    of = [shader(kernel("matmul"), "encode"), shader(kernel("matmul"), "prefill", "step", "prefill")]
    assert names(of) == ["matmul_encode", "matmul_prefill_step"]


def test_shapes_tell_apart_where_programs_do_not() -> None:
    of = [kernel("transpose", (1, 3, 8)), kernel("transpose", (1, T, 8)), kernel("transpose", (1, 1))]
    assert names([shader(k, "main") for k in of]) == ["transpose_3x8", "transpose_new_tokensx8", "transpose_1"]


def test_inputs_tell_apart_where_outputs_do_not() -> None:
    of = [kernel("attention", q=(1, 8), k=(50, 8)), kernel("attention", q=(1, 8), k=(1 + T, 8))]
    assert names([shader(k, "step") for k in of]) == ["attention_k_50x8", "attention_k_new_tokens_1x8"]


def test_variants_come_last_and_need_nothing_else() -> None:
    of = [shader(kernel("matmul"), "encode"), shader(kernel("matmul"), "encode", variant="rows8")]
    assert names(of) == ["matmul", "matmul_rows8"]
    of += [shader(kernel("matmul"), "prefill"), shader(kernel("matmul"), "prefill", variant="rows8")]
    assert names(of) == ["matmul_encode", "matmul_encode_rows8", "matmul_prefill", "matmul_prefill_rows8"]


def test_what_differs_in_constants_alone_is_numbered() -> None:
    of = [shader(kernel("elementwise_mul"), "main") for _ in range(3)]
    assert names(of) == ["elementwise_mul", "elementwise_mul_2", "elementwise_mul_3"]


def test_no_name_is_given_twice() -> None:
    """A number may make a name that another shader has already."""
    of = [shader(kernel(label), "main") for label in ("a", "a", "a_2", "a_2")]
    assert len(set(names(of))) == len(of)
