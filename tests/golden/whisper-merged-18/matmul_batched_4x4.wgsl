// Matrix products of two run-time operands, each invocation a tile of 4 rows and 4 columns.
//
// align, 1 dispatch:
//   /model/decoder/layers.1/encoder_attn/Mul, /model/decoder/layers.1/encoder_attn/Reshape,
//     /model/decoder/layers.1/encoder_attn/Transpose, /model/decoder/layers.1/encoder_attn/MatMul, +2
// reads a f32[1,2,32,16], b f32[1,2,16,50]
// writes out f32[1,2,32,50]
// at most 23.3 kB moved, 102 kFLOP a dispatch

@group(0) @binding(0) var<storage, read> a: array<f32>;
@group(0) @binding(1) var<storage, read> b: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;

fn load_a(i: u32) -> f32 {
  return a[i];
}

fn load_b(i: u32) -> f32 {
  return b[i];
}

fn store_out(i: u32, value: f32) {
  out[i] = value;
}

@compute @workgroup_size(8, 8, 1)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(workgroup_id) workgroup: vec3u,
        @builtin(local_invocation_id) local: vec3u) {
  let row = id.y * 4u;
  let column = workgroup.x * 32u + local.x;
  let batch = id.z;
  if (row >= 32u || column >= 50u) {
    return;
  }
  let a_first = batch * 512u;
  let b_first = batch * 800u;
  let a_at0 = a_first + min(row, 31u) * 16u;
  let a_at1 = a_first + min(row + 1u, 31u) * 16u;
  let a_at2 = a_first + min(row + 2u, 31u) * 16u;
  let a_at3 = a_first + min(row + 3u, 31u) * 16u;
  let b_at0 = b_first + min(column, 49u);
  let b_at1 = b_first + min(column + 8u, 49u);
  let b_at2 = b_first + min(column + 16u, 49u);
  let b_at3 = b_first + min(column + 24u, 49u);
  // Unrolled, so that sums stay in registers: sumR_C is row R, column 8 C of this invocation. It stands for
  //   for (j) for (R) for (C) sumR_C += a[row + R][j] * b[j][column + 8 C];
var sum0_0 = f32(); var sum0_1 = f32(); var sum0_2 = f32(); var sum0_3 = f32();
var sum1_0 = f32(); var sum1_1 = f32(); var sum1_2 = f32(); var sum1_3 = f32();
var sum2_0 = f32(); var sum2_1 = f32(); var sum2_2 = f32(); var sum2_3 = f32();
var sum3_0 = f32(); var sum3_1 = f32(); var sum3_2 = f32(); var sum3_3 = f32();
  for (var j = 0u; j < 16u; j++) {
    let b0 = load_b(b_at0 + j * 50u);
    let b1 = load_b(b_at1 + j * 50u);
    let b2 = load_b(b_at2 + j * 50u);
    let b3 = load_b(b_at3 + j * 50u);
    let a0 = load_a(a_at0 + j);
sum0_0 += a0 * b0; sum0_1 += a0 * b1; sum0_2 += a0 * b2; sum0_3 += a0 * b3;
    let a1 = load_a(a_at1 + j);
sum1_0 += a1 * b0; sum1_1 += a1 * b1; sum1_2 += a1 * b2; sum1_3 += a1 * b3;
    let a2 = load_a(a_at2 + j);
sum2_0 += a2 * b0; sum2_1 += a2 * b1; sum2_2 += a2 * b2; sum2_3 += a2 * b3;
    let a3 = load_a(a_at3 + j);
sum3_0 += a3 * b0; sum3_1 += a3 * b1; sum3_2 += a3 * b2; sum3_3 += a3 * b3;
  }
  let first = batch * 1600u;
  if (row < 32u && column < 50u) {
    store_out(first + row * 50u + column, sum0_0);
  }
  if (row < 32u && column + 8u < 50u) {
    store_out(first + row * 50u + column + 8u, sum0_1);
  }
  if (row < 32u && column + 16u < 50u) {
    store_out(first + row * 50u + column + 16u, sum0_2);
  }
  if (row < 32u && column + 24u < 50u) {
    store_out(first + row * 50u + column + 24u, sum0_3);
  }
  if (row + 1u < 32u && column < 50u) {
    store_out(first + (row + 1u) * 50u + column, sum1_0);
  }
  if (row + 1u < 32u && column + 8u < 50u) {
    store_out(first + (row + 1u) * 50u + column + 8u, sum1_1);
  }
  if (row + 1u < 32u && column + 16u < 50u) {
    store_out(first + (row + 1u) * 50u + column + 16u, sum1_2);
  }
  if (row + 1u < 32u && column + 24u < 50u) {
    store_out(first + (row + 1u) * 50u + column + 24u, sum1_3);
  }
  if (row + 2u < 32u && column < 50u) {
    store_out(first + (row + 2u) * 50u + column, sum2_0);
  }
  if (row + 2u < 32u && column + 8u < 50u) {
    store_out(first + (row + 2u) * 50u + column + 8u, sum2_1);
  }
  if (row + 2u < 32u && column + 16u < 50u) {
    store_out(first + (row + 2u) * 50u + column + 16u, sum2_2);
  }
  if (row + 2u < 32u && column + 24u < 50u) {
    store_out(first + (row + 2u) * 50u + column + 24u, sum2_3);
  }
  if (row + 3u < 32u && column < 50u) {
    store_out(first + (row + 3u) * 50u + column, sum3_0);
  }
  if (row + 3u < 32u && column + 8u < 50u) {
    store_out(first + (row + 3u) * 50u + column + 8u, sum3_1);
  }
  if (row + 3u < 32u && column + 16u < 50u) {
    store_out(first + (row + 3u) * 50u + column + 16u, sum3_2);
  }
  if (row + 3u < 32u && column + 24u < 50u) {
    store_out(first + (row + 3u) * 50u + column + 24u, sum3_3);
  }
}
