// Matrix product: y[row, n] = x[row] . weight[n], each invocation a tile of 4 rows and 8 columns.
//
// main, 1 dispatch:
//   /decoder/rnn/LSTM
// variant 'rows4' for matmul_few n_seq_lenx128x512
// reads x f32[n_seq_len,1,128], weight f32[512,128], bias f32[512]
// writes y f32[n_seq_len,1,512]
// at most 2.89 MB moved, 134 MFLOP a dispatch

struct Dims {
  n_seq_len: u32,
}

@group(0) @binding(0) var<storage, read> x: array<vec4f>;
@group(0) @binding(1) var weight: texture_storage_2d<rgba32float, read>;
@group(0) @binding(2) var bias: texture_storage_2d<rgba32float, read>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4f>;
@group(0) @binding(4) var<uniform> dims: Dims;

fn load_x(i: u32) -> vec4f {
  return x[i];
}

fn load_weight(i: u32) -> vec4f {
  return textureLoad(weight, vec2u(i % 2048u, i / 2048u));
}

fn load_bias(i: u32) -> vec4f {
  return textureLoad(bias, vec2u(i % 128u, i / 128u));
}

fn store_y(i: u32, value: vec4f) {
  y[i] = value;
}

const K4 = 32u;  // vec4s in a row of x
const ROW = K4;  // texels in a row of the weight
const GROUPS = 128u;  // groups of 4 columns in the weight, which is packed [n/8][ROW][8]
const BLOCK = 32u;  // vec4s of a row that are summed up by themselves: long sums of f32 lose digits

fn row_start(row: u32) -> u32 {
  return row * K4;
}

fn row_part(at: u32) -> vec4f {
  return load_x(at);
}

// Adds four numbers of a row of x, times the same four of four rows of the weight, to the sums of those rows.
fn multiplied(a: vec4f, columns: mat4x4f, sums: vec4f) -> vec4f {
  let two = fma(vec4f(a.y), columns[1], fma(vec4f(a.x), columns[0], sums));
  return fma(vec4f(a.w), columns[3], fma(vec4f(a.z), columns[2], two));
}

fn store(row: u32, group: u32, sum: vec4f) {
  if (group >= GROUPS) {
    return;
  }
  let n = group;  // vec4 of a row
  let acc = sum + load_bias(n);
  store_y(row * 128u + n, acc);
}

@compute @workgroup_size(8, 1, 1)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(workgroup_id) workgroup: vec3u,
        @builtin(local_invocation_id) local: vec3u) {
  let row = id.y * 4u;
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
}
    sum0_0 += part0_0;
    sum0_1 += part0_1;
    sum1_0 += part1_0;
    sum1_1 += part1_1;
    sum2_0 += part2_0;
    sum2_1 += part2_1;
    sum3_0 += part3_0;
    sum3_1 += part3_1;
  }

  // A row at a time: few stores keep the shader quick to compile.
  for (var r = 0u; r < min(4u, dims.n_seq_len - row); r++) {
    var sum0 = sum0_0;
    var sum1 = sum0_1;
    switch r {
      case 1u: { sum0 = sum1_0; sum1 = sum1_1; }
      case 2u: { sum0 = sum2_0; sum1 = sum2_1; }
      case 3u: { sum0 = sum3_0; sum1 = sum3_1; }
      default: {}
    }
    store(row + r, group0, sum0);
    store(row + r, group1, sum1);
  }
}
