// Matrix product: y[row, n] = x[row] . weight[n], each workgroup a tile of 128 rows and 128 columns.
//
// main, 1 dispatch:
//   /decoder/rnn/LSTM
// variant 'tiles128_buffers' for matmul_few n_seq_lenx128x512
// reads x f32[n_seq_len,1,128], weight f32[512,128], bias f32[512]
// writes y f32[n_seq_len,1,512]
// at most 2.89 MB moved, 134 MFLOP a dispatch

struct Dims {
  n_seq_len: u32,
}

@group(0) @binding(0) var<storage, read> x: array<vec4f>;
@group(0) @binding(1) var<storage, read> weight: array<vec4f>;
@group(0) @binding(2) var bias: texture_storage_2d<rgba32float, read>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4f>;
@group(0) @binding(4) var<uniform> dims: Dims;

fn load_x(i: u32) -> vec4f {
  return x[i];
}

fn load_weight(i: u32) -> vec4f {
  return weight[i];
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
const ROWS = 128u;  // rows of a workgroup
const STEP = 4u;  // vec4s of a row that are in workgroup memory at a time

var<workgroup> x_tile: array<vec4f, STEP * ROWS>;
var<workgroup> weight_tile: array<vec4f, STEP * 128u>;

fn row_start(row: u32) -> u32 {
  return row * K4;
}

fn row_part(at: u32) -> vec4f {
  return load_x(at);
}

// vec4 k of row j in a group.
fn weight_part(group: u32, j: u32, k: u32) -> vec4f {
  return load_weight(group / 2u * ROW * 8u + group % 2u * 4u + j + k * 8u);
}

fn store(row: u32, group: u32, sum: vec4f) {
  if (group >= GROUPS) {
    return;
  }
  let n = group;  // vec4 of a row
  let acc = sum + load_bias(n);
  store_y(row * 128u + n, acc);
}

@compute @workgroup_size(16, 16, 1)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(workgroup_id) workgroup: vec3u,
        @builtin(local_invocation_id) local: vec3u) {
  let row = workgroup.y * ROWS + local.y * 8u;
  let last = dims.n_seq_len - 1u;
  let group0 = workgroup.x * 32u + local.x;
  let group1 = workgroup.x * 32u + 16u + local.x;
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
  // What this invocation brings into workgroup memory: neighbours read neighbouring vec4s.
  let lane = local.y * 16u + local.x;
  let j = lane % 4u;
  let step = lane / 8u % STEP;
  let column = lane / 32u * 2u + lane / 4u % 2u;
  for (var block = 0u; block < K4; block += STEP) {
    x_tile[lane % STEP * ROWS + lane / STEP] = select(
      vec4f(),
      row_part(row_start(min(workgroup.y * ROWS + lane / STEP, last)) + block + lane % STEP),
      block + lane % STEP < K4,
    );
    x_tile[lane % STEP * ROWS + 64u + lane / STEP] = select(
      vec4f(),
      row_part(row_start(min(workgroup.y * ROWS + 64u + lane / STEP, last)) + block + lane % STEP),
      block + lane % STEP < K4,
    );
    weight_tile[(step * 8u + j) * 16u + column] = weight_part(min(workgroup.x * 32u + column, GROUPS - 1u), j,
        min(block + step, K4 - 1u));
    weight_tile[((step * 2u + 1u) * 4u + j) * 16u + column] =
        weight_part(min(workgroup.x * 32u + 16u + column, GROUPS - 1u), j, min(block + step, K4 - 1u));
    workgroupBarrier();
    for (var k = 0u; k < STEP; k++) {
      let b0 = weight_tile[k * 128u + local.x];
      let b1 = weight_tile[k * 128u + 16u + local.x];
      let b2 = weight_tile[k * 128u + 32u + local.x];
      let b3 = weight_tile[k * 128u + 48u + local.x];
      let b4 = weight_tile[k * 128u + 64u + local.x];
      let b5 = weight_tile[k * 128u + 80u + local.x];
      let b6 = weight_tile[k * 128u + 96u + local.x];
      let b7 = weight_tile[k * 128u + 112u + local.x];
      let c0x = vec4f(b0.x, b1.x, b2.x, b3.x);
      let c0y = vec4f(b0.y, b1.y, b2.y, b3.y);
      let c0z = vec4f(b0.z, b1.z, b2.z, b3.z);
      let c0w = vec4f(b0.w, b1.w, b2.w, b3.w);
      let c1x = vec4f(b4.x, b5.x, b6.x, b7.x);
      let c1y = vec4f(b4.y, b5.y, b6.y, b7.y);
      let c1z = vec4f(b4.z, b5.z, b6.z, b7.z);
      let c1w = vec4f(b4.w, b5.w, b6.w, b7.w);
      let a0 = x_tile[k * ROWS + local.y * 8u];
      sum0_0 = fma(vec4f(a0.x), c0x, sum0_0);
      sum0_0 = fma(vec4f(a0.y), c0y, sum0_0);
      sum0_0 = fma(vec4f(a0.z), c0z, sum0_0);
      sum0_0 = fma(vec4f(a0.w), c0w, sum0_0);
      sum0_1 = fma(vec4f(a0.x), c1x, sum0_1);
      sum0_1 = fma(vec4f(a0.y), c1y, sum0_1);
      sum0_1 = fma(vec4f(a0.z), c1z, sum0_1);
      sum0_1 = fma(vec4f(a0.w), c1w, sum0_1);
      let a1 = x_tile[k * ROWS + local.y * 8u + 1u];
      sum1_0 = fma(vec4f(a1.x), c0x, sum1_0);
      sum1_0 = fma(vec4f(a1.y), c0y, sum1_0);
      sum1_0 = fma(vec4f(a1.z), c0z, sum1_0);
      sum1_0 = fma(vec4f(a1.w), c0w, sum1_0);
      sum1_1 = fma(vec4f(a1.x), c1x, sum1_1);
      sum1_1 = fma(vec4f(a1.y), c1y, sum1_1);
      sum1_1 = fma(vec4f(a1.z), c1z, sum1_1);
      sum1_1 = fma(vec4f(a1.w), c1w, sum1_1);
      let a2 = x_tile[k * ROWS + local.y * 8u + 2u];
      sum2_0 = fma(vec4f(a2.x), c0x, sum2_0);
      sum2_0 = fma(vec4f(a2.y), c0y, sum2_0);
      sum2_0 = fma(vec4f(a2.z), c0z, sum2_0);
      sum2_0 = fma(vec4f(a2.w), c0w, sum2_0);
      sum2_1 = fma(vec4f(a2.x), c1x, sum2_1);
      sum2_1 = fma(vec4f(a2.y), c1y, sum2_1);
      sum2_1 = fma(vec4f(a2.z), c1z, sum2_1);
      sum2_1 = fma(vec4f(a2.w), c1w, sum2_1);
      let a3 = x_tile[k * ROWS + local.y * 8u + 3u];
      sum3_0 = fma(vec4f(a3.x), c0x, sum3_0);
      sum3_0 = fma(vec4f(a3.y), c0y, sum3_0);
      sum3_0 = fma(vec4f(a3.z), c0z, sum3_0);
      sum3_0 = fma(vec4f(a3.w), c0w, sum3_0);
      sum3_1 = fma(vec4f(a3.x), c1x, sum3_1);
      sum3_1 = fma(vec4f(a3.y), c1y, sum3_1);
      sum3_1 = fma(vec4f(a3.z), c1z, sum3_1);
      sum3_1 = fma(vec4f(a3.w), c1w, sum3_1);
      let a4 = x_tile[k * ROWS + local.y * 8u + 4u];
      sum4_0 = fma(vec4f(a4.x), c0x, sum4_0);
      sum4_0 = fma(vec4f(a4.y), c0y, sum4_0);
      sum4_0 = fma(vec4f(a4.z), c0z, sum4_0);
      sum4_0 = fma(vec4f(a4.w), c0w, sum4_0);
      sum4_1 = fma(vec4f(a4.x), c1x, sum4_1);
      sum4_1 = fma(vec4f(a4.y), c1y, sum4_1);
      sum4_1 = fma(vec4f(a4.z), c1z, sum4_1);
      sum4_1 = fma(vec4f(a4.w), c1w, sum4_1);
      let a5 = x_tile[k * ROWS + local.y * 8u + 5u];
      sum5_0 = fma(vec4f(a5.x), c0x, sum5_0);
      sum5_0 = fma(vec4f(a5.y), c0y, sum5_0);
      sum5_0 = fma(vec4f(a5.z), c0z, sum5_0);
      sum5_0 = fma(vec4f(a5.w), c0w, sum5_0);
      sum5_1 = fma(vec4f(a5.x), c1x, sum5_1);
      sum5_1 = fma(vec4f(a5.y), c1y, sum5_1);
      sum5_1 = fma(vec4f(a5.z), c1z, sum5_1);
      sum5_1 = fma(vec4f(a5.w), c1w, sum5_1);
      let a6 = x_tile[k * ROWS + local.y * 8u + 6u];
      sum6_0 = fma(vec4f(a6.x), c0x, sum6_0);
      sum6_0 = fma(vec4f(a6.y), c0y, sum6_0);
      sum6_0 = fma(vec4f(a6.z), c0z, sum6_0);
      sum6_0 = fma(vec4f(a6.w), c0w, sum6_0);
      sum6_1 = fma(vec4f(a6.x), c1x, sum6_1);
      sum6_1 = fma(vec4f(a6.y), c1y, sum6_1);
      sum6_1 = fma(vec4f(a6.z), c1z, sum6_1);
      sum6_1 = fma(vec4f(a6.w), c1w, sum6_1);
      let a7 = x_tile[k * ROWS + local.y * 8u + 7u];
      sum7_0 = fma(vec4f(a7.x), c0x, sum7_0);
      sum7_0 = fma(vec4f(a7.y), c0y, sum7_0);
      sum7_0 = fma(vec4f(a7.z), c0z, sum7_0);
      sum7_0 = fma(vec4f(a7.w), c0w, sum7_0);
      sum7_1 = fma(vec4f(a7.x), c1x, sum7_1);
      sum7_1 = fma(vec4f(a7.y), c1y, sum7_1);
      sum7_1 = fma(vec4f(a7.z), c1z, sum7_1);
      sum7_1 = fma(vec4f(a7.w), c1w, sum7_1);
    }
    workgroupBarrier();
  }

  if (row > last) {
    return;
  }
  // A row at a time: few stores keep the shader quick to compile.
  for (var r = 0u; r < min(8u, dims.n_seq_len - row); r++) {
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
      default: {}
    }
    store(row + r, group0, sum0);
    store(row + r, group1, sum1);
  }
}
