// Convolution over time: y[t, n] = x[t * 1 - 0 ..] . weight[n], a matrix product whose rows overlap.
//
// main, 1 dispatch:
//   /decoder/conv1d/Conv
// variant 'rows16' for conv1d_few n_seq_lenx128x1
// reads x f32[1,n_seq_len,128], weight f32[1,128], bias f32[1]
// writes y f32[1,n_seq_len,1]
// at most 532 kB moved, 262 kFLOP a dispatch

struct Dims {
  n_seq_len: u32,
}

@group(0) @binding(0) var x: texture_storage_2d<rgba32float, read>;
@group(0) @binding(1) var weight: texture_storage_2d<rgba32float, read>;
@group(0) @binding(2) var<storage, read> bias: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
@group(0) @binding(4) var<uniform> dims: Dims;

fn load_x(i: u32) -> vec4f {
  return textureLoad(x, vec2u(i % 2048u, i / 2048u));
}

fn load_weight(i: u32) -> vec4f {
  return textureLoad(weight, vec2u(i % 256u, i / 256u));
}

fn load_bias(i: u32) -> f32 {
  return bias[i];
}

fn store_y(i: u32, value: f32) {
  y[i] = value;
}

const K4 = 32u;  // vec4s in a row of x
const ROW = K4;  // texels in a row of the weight
const GROUPS = 2u;  // groups of 4 columns in the weight, which is packed [n/8][ROW][8]
const BLOCK = 32u;  // vec4s of a row that are summed up by themselves: long sums of f32 lose digits

fn row_part(at: u32) -> vec4f {
  return load_x(at);
}

fn row_start(row: u32) -> u32 {
  return row * 32u;
}

// Adds four numbers of a row of x, times the same four of four rows of the weight, to the sums of those rows.
fn multiplied(a: vec4f, columns: mat4x4f, sums: vec4f) -> vec4f {
  let two = fma(vec4f(a.y), columns[1], fma(vec4f(a.x), columns[0], sums));
  return fma(vec4f(a.w), columns[3], fma(vec4f(a.z), columns[2], two));
}

fn store(row: u32, group: u32, sum: vec4f) {
  for (var j = 0u; j < 4u && group * 4u + j < 1u; j++) {
    let n = group * 4u + j;
    let value = sum[j] + load_bias(n);
    store_y(row + n, value);
  }
}

@compute @workgroup_size(8, 4, 1)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(workgroup_id) workgroup: vec3u,
        @builtin(local_invocation_id) local: vec3u) {
  let row = id.y * 16u;
  if (row >= dims.n_seq_len) {
    return;
  }
  let last = dims.n_seq_len - 1u;
  let group0 = workgroup.x * 16u + local.x;
  let w0 = min(group0, GROUPS - 1u) / 2u * ROW * 8u + group0 % 2u * 4u;
  let group1 = workgroup.x * 16u + 8u + local.x;
  let w1 = min(group1, GROUPS - 1u) / 2u * ROW * 8u + group1 % 2u * 4u;
  let x0 = row_start(min(row, last));
  let x1 = row_start(min(row + 1u, last));
  let x2 = row_start(min(row + 2u, last));
  let x3 = row_start(min(row + 3u, last));
  let x4 = row_start(min(row + 4u, last));
  let x5 = row_start(min(row + 5u, last));
  let x6 = row_start(min(row + 6u, last));
  let x7 = row_start(min(row + 7u, last));
  let x8 = row_start(min(row + 8u, last));
  let x9 = row_start(min(row + 9u, last));
  let x10 = row_start(min(row + 10u, last));
  let x11 = row_start(min(row + 11u, last));
  let x12 = row_start(min(row + 12u, last));
  let x13 = row_start(min(row + 13u, last));
  let x14 = row_start(min(row + 14u, last));
  let x15 = row_start(min(row + 15u, last));
  // Unrolled, because sums in an array would not stay in registers: sumR_C is row R, group C of 4 columns; aR is 4
  // numbers of row R of x, and b0, b1, ... the same 4 of the weight's rows, a group C having four. It stands for
  //   for (k) for (R) for (C) sumR_C += aR[k] * b[4 C .. 4 C + 3][k];
  var sum0_0 = vec4f();
  var sum0_1 = vec4f();
  var sum1_0 = vec4f();
  var sum1_1 = vec4f();
  var sum2_0 = vec4f();
  var sum2_1 = vec4f();
  var sum3_0 = vec4f();
  var sum3_1 = vec4f();
  var sum4_0 = vec4f();
  var sum4_1 = vec4f();
  var sum5_0 = vec4f();
  var sum5_1 = vec4f();
  var sum6_0 = vec4f();
  var sum6_1 = vec4f();
  var sum7_0 = vec4f();
  var sum7_1 = vec4f();
  var sum8_0 = vec4f();
  var sum8_1 = vec4f();
  var sum9_0 = vec4f();
  var sum9_1 = vec4f();
  var sum10_0 = vec4f();
  var sum10_1 = vec4f();
  var sum11_0 = vec4f();
  var sum11_1 = vec4f();
  var sum12_0 = vec4f();
  var sum12_1 = vec4f();
  var sum13_0 = vec4f();
  var sum13_1 = vec4f();
  var sum14_0 = vec4f();
  var sum14_1 = vec4f();
  var sum15_0 = vec4f();
  var sum15_1 = vec4f();
  for (var block = 0u; block < K4; block += BLOCK) {
    let end = min(block + BLOCK, K4);
    var part0_0 = vec4f();
    var part0_1 = vec4f();
    var part1_0 = vec4f();
    var part1_1 = vec4f();
    var part2_0 = vec4f();
    var part2_1 = vec4f();
    var part3_0 = vec4f();
    var part3_1 = vec4f();
    var part4_0 = vec4f();
    var part4_1 = vec4f();
    var part5_0 = vec4f();
    var part5_1 = vec4f();
    var part6_0 = vec4f();
    var part6_1 = vec4f();
    var part7_0 = vec4f();
    var part7_1 = vec4f();
    var part8_0 = vec4f();
    var part8_1 = vec4f();
    var part9_0 = vec4f();
    var part9_1 = vec4f();
    var part10_0 = vec4f();
    var part10_1 = vec4f();
    var part11_0 = vec4f();
    var part11_1 = vec4f();
    var part12_0 = vec4f();
    var part12_1 = vec4f();
    var part13_0 = vec4f();
    var part13_1 = vec4f();
    var part14_0 = vec4f();
    var part14_1 = vec4f();
    var part15_0 = vec4f();
    var part15_1 = vec4f();
    for (var k = block; k < end; k++) {
      let b0 = load_weight(w0 + k * 8u);
      let b1 = load_weight(w0 + k * 8u + 1u);
      let b2 = load_weight(w0 + k * 8u + 2u);
      let b3 = load_weight(w0 + k * 8u + 3u);
      let b4 = load_weight(w1 + k * 8u);
      let b5 = load_weight(w1 + k * 8u + 1u);
      let b6 = load_weight(w1 + k * 8u + 2u);
      let b7 = load_weight(w1 + k * 8u + 3u);
      let c0 = transpose(mat4x4f(b0, b1, b2, b3));
      let c1 = transpose(mat4x4f(b4, b5, b6, b7));
      let a0 = row_part(x0 + k);
      part0_0 = multiplied(a0, c0, part0_0);
      part0_1 = multiplied(a0, c1, part0_1);
      let a1 = row_part(x1 + k);
      part1_0 = multiplied(a1, c0, part1_0);
      part1_1 = multiplied(a1, c1, part1_1);
      let a2 = row_part(x2 + k);
      part2_0 = multiplied(a2, c0, part2_0);
      part2_1 = multiplied(a2, c1, part2_1);
      let a3 = row_part(x3 + k);
      part3_0 = multiplied(a3, c0, part3_0);
      part3_1 = multiplied(a3, c1, part3_1);
      let a4 = row_part(x4 + k);
      part4_0 = multiplied(a4, c0, part4_0);
      part4_1 = multiplied(a4, c1, part4_1);
      let a5 = row_part(x5 + k);
      part5_0 = multiplied(a5, c0, part5_0);
      part5_1 = multiplied(a5, c1, part5_1);
      let a6 = row_part(x6 + k);
      part6_0 = multiplied(a6, c0, part6_0);
      part6_1 = multiplied(a6, c1, part6_1);
      let a7 = row_part(x7 + k);
      part7_0 = multiplied(a7, c0, part7_0);
      part7_1 = multiplied(a7, c1, part7_1);
      let a8 = row_part(x8 + k);
      part8_0 = multiplied(a8, c0, part8_0);
      part8_1 = multiplied(a8, c1, part8_1);
      let a9 = row_part(x9 + k);
      part9_0 = multiplied(a9, c0, part9_0);
      part9_1 = multiplied(a9, c1, part9_1);
      let a10 = row_part(x10 + k);
      part10_0 = multiplied(a10, c0, part10_0);
      part10_1 = multiplied(a10, c1, part10_1);
      let a11 = row_part(x11 + k);
      part11_0 = multiplied(a11, c0, part11_0);
      part11_1 = multiplied(a11, c1, part11_1);
      let a12 = row_part(x12 + k);
      part12_0 = multiplied(a12, c0, part12_0);
      part12_1 = multiplied(a12, c1, part12_1);
      let a13 = row_part(x13 + k);
      part13_0 = multiplied(a13, c0, part13_0);
      part13_1 = multiplied(a13, c1, part13_1);
      let a14 = row_part(x14 + k);
      part14_0 = multiplied(a14, c0, part14_0);
      part14_1 = multiplied(a14, c1, part14_1);
      let a15 = row_part(x15 + k);
      part15_0 = multiplied(a15, c0, part15_0);
      part15_1 = multiplied(a15, c1, part15_1);
}
    sum0_0 += part0_0;
    sum0_1 += part0_1;
    sum1_0 += part1_0;
    sum1_1 += part1_1;
    sum2_0 += part2_0;
    sum2_1 += part2_1;
    sum3_0 += part3_0;
    sum3_1 += part3_1;
    sum4_0 += part4_0;
    sum4_1 += part4_1;
    sum5_0 += part5_0;
    sum5_1 += part5_1;
    sum6_0 += part6_0;
    sum6_1 += part6_1;
    sum7_0 += part7_0;
    sum7_1 += part7_1;
    sum8_0 += part8_0;
    sum8_1 += part8_1;
    sum9_0 += part9_0;
    sum9_1 += part9_1;
    sum10_0 += part10_0;
    sum10_1 += part10_1;
    sum11_0 += part11_0;
    sum11_1 += part11_1;
    sum12_0 += part12_0;
    sum12_1 += part12_1;
    sum13_0 += part13_0;
    sum13_1 += part13_1;
    sum14_0 += part14_0;
    sum14_1 += part14_1;
    sum15_0 += part15_0;
    sum15_1 += part15_1;
  }

  // A row at a time: few stores keep the shader quick to compile.
  for (var r = 0u; r < min(16u, dims.n_seq_len - row); r++) {
    var sum0 = sum0_0;
    var sum1 = sum0_1;
    switch r {
      case 1u: { sum0 = sum1_0; sum1 = sum1_1; }
      case 2u: { sum0 = sum2_0; sum1 = sum2_1; }
      case 3u: { sum0 = sum3_0; sum1 = sum3_1; }
      case 4u: { sum0 = sum4_0; sum1 = sum4_1; }
      case 5u: { sum0 = sum5_0; sum1 = sum5_1; }
      case 6u: { sum0 = sum6_0; sum1 = sum6_1; }
      case 7u: { sum0 = sum7_0; sum1 = sum7_1; }
      case 8u: { sum0 = sum8_0; sum1 = sum8_1; }
      case 9u: { sum0 = sum9_0; sum1 = sum9_1; }
      case 10u: { sum0 = sum10_0; sum1 = sum10_1; }
      case 11u: { sum0 = sum11_0; sum1 = sum11_1; }
      case 12u: { sum0 = sum12_0; sum1 = sum12_1; }
      case 13u: { sum0 = sum13_0; sum1 = sum13_1; }
      case 14u: { sum0 = sum14_0; sum1 = sum14_1; }
      case 15u: { sum0 = sum15_0; sum1 = sum15_1; }
      default: {}
    }
    store(row + r, group0, sum0);
    store(row + r, group1, sum1);
  }
}
