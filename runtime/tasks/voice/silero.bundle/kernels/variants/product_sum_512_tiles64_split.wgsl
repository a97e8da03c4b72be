// Matrix product: the sums of 2 slices of the columns become one.
//
// main, 2 dispatches:
//   /decoder/rnn/LSTM
//   /decoder/rnn/LSTM
// variant 'tiles64_split' for matmul_few n_seq_lenx128x512
// reads sums f32[2048,512], bias f32[512]
// writes y f32[n_seq_len,1,512]
// at most 6.29 MB moved, 1.05 MFLOP a dispatch

struct Dims {
  n_seq_len: u32,
}

@group(0) @binding(0) var<storage, read> sums: array<vec4f>;
@group(0) @binding(1) var bias: texture_storage_2d<rgba32float, read>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4f>;
@group(0) @binding(3) var<uniform> dims: Dims;

fn load_sums(i: u32) -> vec4f {
  return sums[i];
}

fn load_bias(i: u32) -> vec4f {
  return textureLoad(bias, vec2u(i % 128u, i / 128u));
}

fn store_y(i: u32, value: vec4f) {
  y[i] = value;
}

const SLICES = 2u;
const GROUPS = 128u;  // groups of 4 rows in the padded weight

fn store(row: u32, group: u32, sum: vec4f) {
  if (group >= GROUPS) {
    return;
  }
  let n = group;  // vec4 of a row
  let acc = sum + load_bias(n);
  store_y(row * 128u + n, acc);
}

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let group = id.x;
  let row = id.y;
  let slice_sums = dims.n_seq_len * GROUPS;
  var sum0 = vec4f();
  for (var slice = 0u; slice < SLICES; slice++) {
    sum0 += load_sums(slice * slice_sums + row * GROUPS + group);
  }
  store(row, group, sum0);
}
