// Matrix product: y[row, n] = x[row] . weight[n], each invocation a tile of 16 rows and 4 columns, eight sharing x.
//
// main, 1 dispatch:
//   /decoder/rnn/LSTM
// variant 'subgroup' for matmul_few n_seq_lenx128x512, needs subgroups
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
  let row = id.y * 16u;
  let last = dims.n_seq_len - 1u;
  let group0 = workgroup.x * 8u + local.x;
  let w0 = min(group0, GROUPS - 1u) / 2u * ROW * 8u + group0 % 2u * 4u;
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
  var sum1_0 = vec4f();
  var sum2_0 = vec4f();
  var sum3_0 = vec4f();
  var sum4_0 = vec4f();
  var sum5_0 = vec4f();
  var sum6_0 = vec4f();
  var sum7_0 = vec4f();
  var sum8_0 = vec4f();
  var sum9_0 = vec4f();
  var sum10_0 = vec4f();
  var sum11_0 = vec4f();
  var sum12_0 = vec4f();
  var sum13_0 = vec4f();
  var sum14_0 = vec4f();
  var sum15_0 = vec4f();
  for (var block = 0u; block < K4; block += BLOCK) {
    let end = min(block + BLOCK, K4);
    var part0_0 = vec4f();
    var part1_0 = vec4f();
    var part2_0 = vec4f();
    var part3_0 = vec4f();
    var part4_0 = vec4f();
    var part5_0 = vec4f();
    var part6_0 = vec4f();
    var part7_0 = vec4f();
    var part8_0 = vec4f();
    var part9_0 = vec4f();
    var part10_0 = vec4f();
    var part11_0 = vec4f();
    var part12_0 = vec4f();
    var part13_0 = vec4f();
    var part14_0 = vec4f();
    var part15_0 = vec4f();
    for (var k = block; k < end; k += 2u) {
      let own0 = row_part(x0 + k + local.x % 2u);
      let own1 = row_part(x1 + k + local.x % 2u);
      let own2 = row_part(x2 + k + local.x % 2u);
      let own3 = row_part(x3 + k + local.x % 2u);
      let own4 = row_part(x4 + k + local.x % 2u);
      let own5 = row_part(x5 + k + local.x % 2u);
      let own6 = row_part(x6 + k + local.x % 2u);
      let own7 = row_part(x7 + k + local.x % 2u);
      let own8 = row_part(x8 + k + local.x % 2u);
      let own9 = row_part(x9 + k + local.x % 2u);
      let own10 = row_part(x10 + k + local.x % 2u);
      let own11 = row_part(x11 + k + local.x % 2u);
      let own12 = row_part(x12 + k + local.x % 2u);
      let own13 = row_part(x13 + k + local.x % 2u);
      let own14 = row_part(x14 + k + local.x % 2u);
      let own15 = row_part(x15 + k + local.x % 2u);
      {
        let b0 = load_weight(w0 + k * 8u);
        let b1 = load_weight(w0 + k * 8u + 1u);
        let b2 = load_weight(w0 + k * 8u + 2u);
        let b3 = load_weight(w0 + k * 8u + 3u);
        let c0 = transpose(mat4x4f(b0, b1, b2, b3));
        let a0 = subgroupBroadcast(own0, 0u);
        part0_0 = multiplied(a0, c0, part0_0);
        let a1 = subgroupBroadcast(own1, 0u);
        part1_0 = multiplied(a1, c0, part1_0);
        let a2 = subgroupBroadcast(own2, 0u);
        part2_0 = multiplied(a2, c0, part2_0);
        let a3 = subgroupBroadcast(own3, 0u);
        part3_0 = multiplied(a3, c0, part3_0);
        let a4 = subgroupBroadcast(own4, 0u);
        part4_0 = multiplied(a4, c0, part4_0);
        let a5 = subgroupBroadcast(own5, 0u);
        part5_0 = multiplied(a5, c0, part5_0);
        let a6 = subgroupBroadcast(own6, 0u);
        part6_0 = multiplied(a6, c0, part6_0);
        let a7 = subgroupBroadcast(own7, 0u);
        part7_0 = multiplied(a7, c0, part7_0);
        let a8 = subgroupBroadcast(own8, 0u);
        part8_0 = multiplied(a8, c0, part8_0);
        let a9 = subgroupBroadcast(own9, 0u);
        part9_0 = multiplied(a9, c0, part9_0);
        let a10 = subgroupBroadcast(own10, 0u);
        part10_0 = multiplied(a10, c0, part10_0);
        let a11 = subgroupBroadcast(own11, 0u);
        part11_0 = multiplied(a11, c0, part11_0);
        let a12 = subgroupBroadcast(own12, 0u);
        part12_0 = multiplied(a12, c0, part12_0);
        let a13 = subgroupBroadcast(own13, 0u);
        part13_0 = multiplied(a13, c0, part13_0);
        let a14 = subgroupBroadcast(own14, 0u);
        part14_0 = multiplied(a14, c0, part14_0);
        let a15 = subgroupBroadcast(own15, 0u);
        part15_0 = multiplied(a15, c0, part15_0);
      }
      {
        let b0 = load_weight(w0 + (k + 1u) * 8u);
        let b1 = load_weight(w0 + (k + 1u) * 8u + 1u);
        let b2 = load_weight(w0 + (k + 1u) * 8u + 2u);
        let b3 = load_weight(w0 + (k + 1u) * 8u + 3u);
        let c0 = transpose(mat4x4f(b0, b1, b2, b3));
        let a0 = subgroupBroadcast(own0, 1u);
        part0_0 = multiplied(a0, c0, part0_0);
        let a1 = subgroupBroadcast(own1, 1u);
        part1_0 = multiplied(a1, c0, part1_0);
        let a2 = subgroupBroadcast(own2, 1u);
        part2_0 = multiplied(a2, c0, part2_0);
        let a3 = subgroupBroadcast(own3, 1u);
        part3_0 = multiplied(a3, c0, part3_0);
        let a4 = subgroupBroadcast(own4, 1u);
        part4_0 = multiplied(a4, c0, part4_0);
        let a5 = subgroupBroadcast(own5, 1u);
        part5_0 = multiplied(a5, c0, part5_0);
        let a6 = subgroupBroadcast(own6, 1u);
        part6_0 = multiplied(a6, c0, part6_0);
        let a7 = subgroupBroadcast(own7, 1u);
        part7_0 = multiplied(a7, c0, part7_0);
        let a8 = subgroupBroadcast(own8, 1u);
        part8_0 = multiplied(a8, c0, part8_0);
        let a9 = subgroupBroadcast(own9, 1u);
        part9_0 = multiplied(a9, c0, part9_0);
        let a10 = subgroupBroadcast(own10, 1u);
        part10_0 = multiplied(a10, c0, part10_0);
        let a11 = subgroupBroadcast(own11, 1u);
        part11_0 = multiplied(a11, c0, part11_0);
        let a12 = subgroupBroadcast(own12, 1u);
        part12_0 = multiplied(a12, c0, part12_0);
        let a13 = subgroupBroadcast(own13, 1u);
        part13_0 = multiplied(a13, c0, part13_0);
        let a14 = subgroupBroadcast(own14, 1u);
        part14_0 = multiplied(a14, c0, part14_0);
        let a15 = subgroupBroadcast(own15, 1u);
        part15_0 = multiplied(a15, c0, part15_0);
      }
}
    sum0_0 += part0_0;
    sum1_0 += part1_0;
    sum2_0 += part2_0;
    sum3_0 += part3_0;
    sum4_0 += part4_0;
    sum5_0 += part5_0;
    sum6_0 += part6_0;
    sum7_0 += part7_0;
    sum8_0 += part8_0;
    sum9_0 += part9_0;
    sum10_0 += part10_0;
    sum11_0 += part11_0;
    sum12_0 += part12_0;
    sum13_0 += part13_0;
    sum14_0 += part14_0;
    sum15_0 += part15_0;
  }
  if (row > last) {
    return;
  }

  // A row at a time: few stores keep the shader quick to compile.
  for (var r = 0u; r < min(16u, dims.n_seq_len - row); r++) {
    var sum0 = sum0_0;
    switch r {
      case 1u: { sum0 = sum1_0; }
      case 2u: { sum0 = sum2_0; }
      case 3u: { sum0 = sum3_0; }
      case 4u: { sum0 = sum4_0; }
      case 5u: { sum0 = sum5_0; }
      case 6u: { sum0 = sum6_0; }
      case 7u: { sum0 = sum7_0; }
      case 8u: { sum0 = sum8_0; }
      case 9u: { sum0 = sum9_0; }
      case 10u: { sum0 = sum10_0; }
      case 11u: { sum0 = sum11_0; }
      case 12u: { sum0 = sum12_0; }
      case 13u: { sum0 = sum13_0; }
      case 14u: { sum0 = sum14_0; }
      case 15u: { sum0 = sum15_0; }
      default: {}
    }
    store(row + r, group0, sum0);
  }
}
