// Matrix times up to 4 vectors: y[n] = x . weight[n]. A workgroup's lanes are 8 rows of the weight by 32 slices of
//   their columns.
//
// main, 1 dispatch:
//   /decoder/rnn/LSTM
// variant 'slices32_buffers' for matmul_few n_seq_lenx128x512
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
const GROUPS = 128u;  // groups of 4 rows in the weight, which is packed [n/8][ROW][8]
const BLOCKS = GROUPS / 2u;

// Of each block, row of x and row of the weight.
var<workgroup> totals: array<f32, 32>;

const LANES = 8u;
const LANES_Y = 32u;  // invocations that share a sum

var<workgroup> partial_sums: array<vec4f, LANES * LANES_Y>;

// The sum over the invocations of one local.x; each of them gets it.
fn workgroup_sum(sum: vec4f, local: vec3u) -> vec4f {
  partial_sums[local.y * LANES + local.x] = sum;
  workgroupBarrier();
  for (var half = LANES_Y / 2u; half > 0u; half /= 2u) {
    if (local.y < half) {
      partial_sums[local.y * LANES + local.x] += partial_sums[(local.y + half) * LANES + local.x];
    }
    workgroupBarrier();
  }
  let result = partial_sums[local.x];
  workgroupBarrier();
  return result;
}

fn store(row: u32, group: u32, sum: vec4f) {
  if (group >= GROUPS) {
    return;
  }
  let n = group;  // vec4 of a row
  let acc = sum + load_bias(n);
  store_y(row * 128u + n, acc);
}

@compute @workgroup_size(8, 32, 1)
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let row = workgroup.y * 4u;
  let block0 = workgroup.x;
  let w0 = min(block0, BLOCKS - 1u) * ROW * 8u + local.x;
  // sumT is the product of x with this lane's row of block T, for each row of x.
  var sum0 = vec4f();
  for (var k = local.y; k < K4; k += LANES_Y) {
    let b0 = load_weight(w0 + k * 8u);
    for (var r = 0u; r < 4u; r++) {
      let a = load_x(min(row + r, dims.n_seq_len - 1u) * K4 + k);
      sum0[r] += dot(a, b0);
    }
  }

  let total0 = workgroup_sum(sum0, local);
  if (local.y == 0u) {
    for (var r = 0u; r < 4u; r++) {
      totals[r * 8u + local.x] = total0[r];
    }
  }
  workgroupBarrier();
  let first = local.y * 8u + local.x * 4u;
  if (local.x < 2u && local.y < min(4u, dims.n_seq_len - row)) {
    let y0 = vec4f(totals[first], totals[first + 1u], totals[first + 2u], totals[first + 3u]);
    store(row + local.y, block0 * 2u + local.x, y0);
  }
}
