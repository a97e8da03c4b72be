// Matrix product: y[row, n] = x[row] . weight[n], each workgroup a tile of 64 rows and 64 columns.
//
// main, 1 dispatch:
//   /decoder/rnn/LSTM
// variant 'tiles64_buffers' for matmul_few n_seq_lenx128x512
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
const ROWS = 64u;  // rows of a workgroup
const STEP = 8u;  // vec4s of a row that are in workgroup memory at a time
const FOURS = 16u;  // of rows of x
const GROUP_FOURS = 16u;  // of rows of the weight

// A vec4 is a column of four rows. All rows of a column lie side by side.
var<workgroup> x_tile: array<vec4f, 4u * STEP * FOURS>;
var<workgroup> weight_tile: array<vec4f, 4u * STEP * GROUP_FOURS>;

fn row_start(row: u32) -> u32 {
  return row * K4;
}

fn row_part(at: u32) -> vec4f {
  return load_x(at);
}

alias Rows = mat4x4f;  // vec4 k of each of four rows

fn x_rows(row: u32, k: u32) -> Rows {
  return Rows(x_row(row, k), x_row(row + 1u, k), x_row(row + 2u, k), x_row(row + 3u, k));
}

fn weight_rows(group: u32, k: u32) -> Rows {
  let at = group / 2u * ROW * 8u + group % 2u * 4u + k * 8u;
  return Rows(load_weight(at), load_weight(at + 1u), load_weight(at + 2u), load_weight(at + 3u));
}

fn x_row(row: u32, k: u32) -> vec4f {
  return row_part(row_start(min(row, dims.n_seq_len - 1u)) + k);
}

// What the invocations of a four bring: rows of x, then of the weight.
fn rows_of(four: u32, workgroup: vec3u, k: u32) -> Rows {
  if (four < FOURS) {
    return x_rows(workgroup.y * ROWS + four * 4u, k);
  }
  let group = workgroup.x * 16u + (four - FOURS) % 16u;
  return weight_rows(min(group, GROUPS - 1u), k);
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
  let row = workgroup.y * ROWS + local.y * 4u;
  let group0 = workgroup.x * 16u + local.x;
  // Unrolled, because sums in an array would not stay in registers: sumR_C is row R, group C of 4 columns.
  var sum0_0 = vec4f();
  var sum1_0 = vec4f();
  var sum2_0 = vec4f();
  var sum3_0 = vec4f();
  // This invocation brings vec4 `own` of each step, in four rows. Neighbours read neighbouring vec4s, and the fours
  // change places by `turn`, so that neighbours write into different banks.
  let lane = local.y * 16u + local.x;
  let own = lane % STEP;
  let four = lane / STEP;
  let turn = own;
  var next = rows_of(four, workgroup, own);
  for (var block = 0u; block < K4; block += STEP) {
    if (four < FOURS) {
      let columns = transpose(next);
      x_tile[own * 4u * FOURS + (four ^ turn)] = columns[0];
      x_tile[(own * 4u + 1u) * FOURS + (four ^ turn)] = columns[1];
      x_tile[(own * 4u + 2u) * FOURS + (four ^ turn)] = columns[2];
      x_tile[(own * 4u + 3u) * FOURS + (four ^ turn)] = columns[3];
    } else {
      let columns = transpose(next);
      weight_tile[own * 4u * GROUP_FOURS + ((four - FOURS) ^ turn)] = columns[0];
      weight_tile[(own * 4u + 1u) * GROUP_FOURS + ((four - FOURS) ^ turn)] = columns[1];
      weight_tile[(own * 4u + 2u) * GROUP_FOURS + ((four - FOURS) ^ turn)] = columns[2];
      weight_tile[(own * 4u + 3u) * GROUP_FOURS + ((four - FOURS) ^ turn)] = columns[3];
    }
    workgroupBarrier();
    next = rows_of(four, workgroup, min(block + STEP + own, K4 - 1u));  // on their way while these are multiplied
    for (var k = 0u; k < STEP; k++) {
      let turn = k;
      let x0 = k * 4u * FOURS + (local.y ^ turn);
      let w0 = k * 4u * GROUP_FOURS + (local.x ^ turn);
      let a0_0 = x_tile[x0];
      let b0_0 = weight_tile[w0];
      sum0_0 = fma(vec4f(a0_0.x), b0_0, sum0_0);
      sum1_0 = fma(vec4f(a0_0.y), b0_0, sum1_0);
      sum2_0 = fma(vec4f(a0_0.z), b0_0, sum2_0);
      sum3_0 = fma(vec4f(a0_0.w), b0_0, sum3_0);
      let a0_1 = x_tile[x0 + FOURS];
      let b0_1 = weight_tile[w0 + GROUP_FOURS];
      sum0_0 = fma(vec4f(a0_1.x), b0_1, sum0_0);
      sum1_0 = fma(vec4f(a0_1.y), b0_1, sum1_0);
      sum2_0 = fma(vec4f(a0_1.z), b0_1, sum2_0);
      sum3_0 = fma(vec4f(a0_1.w), b0_1, sum3_0);
      let a0_2 = x_tile[x0 + 2u * FOURS];
      let b0_2 = weight_tile[w0 + 2u * GROUP_FOURS];
      sum0_0 = fma(vec4f(a0_2.x), b0_2, sum0_0);
      sum1_0 = fma(vec4f(a0_2.y), b0_2, sum1_0);
      sum2_0 = fma(vec4f(a0_2.z), b0_2, sum2_0);
      sum3_0 = fma(vec4f(a0_2.w), b0_2, sum3_0);
      let a0_3 = x_tile[x0 + 3u * FOURS];
      let b0_3 = weight_tile[w0 + 3u * GROUP_FOURS];
      sum0_0 = fma(vec4f(a0_3.x), b0_3, sum0_0);
      sum1_0 = fma(vec4f(a0_3.y), b0_3, sum1_0);
      sum2_0 = fma(vec4f(a0_3.z), b0_3, sum2_0);
      sum3_0 = fma(vec4f(a0_3.w), b0_3, sum3_0);
    }
    workgroupBarrier();
  }

  if (row >= dims.n_seq_len) {
    return;
  }
  // A row at a time: few stores keep the shader quick to compile.
  for (var r = 0u; r < min(4u, dims.n_seq_len - row); r++) {
    var sum0 = sum0_0;
    switch r {
      case 1u: { sum0 = sum1_0; }
      case 2u: { sum0 = sum2_0; }
      case 3u: { sum0 = sum3_0; }
      default: {}
    }
    store(row + r, group0, sum0);
  }
}
