// RMSNorm: y[row] = x[row] / sqrt(mean(x[row]^2) + epsilon) * gamma, 4 rows a workgroup of 8 lanes.
//
// prefill, 4 dispatches:
//   /model/layers.0/input_layernorm/Pow, /model/layers.0/input_layernorm/ReduceMean, /model/layers.0/input_layernorm/Add, /model/layers.0/input_layernorm/Sqrt, +3
//   /model/layers.0/post_attention_layernorm/Pow, /model/layers.0/post_attention_layernorm/ReduceMean, /model/layers.0/post_attention_layernorm/Add, /model/layers.0/post_attention_layernorm/Sqrt, +3
//   /model/layers.1/input_layernorm/Pow, /model/layers.1/input_layernorm/ReduceMean, /model/layers.1/input_layernorm/Add, /model/layers.1/input_layernorm/Sqrt, +3
//   /model/layers.1/post_attention_layernorm/Pow, /model/layers.1/post_attention_layernorm/ReduceMean, /model/layers.1/post_attention_layernorm/Add, /model/layers.1/post_attention_layernorm/Sqrt, +3
// reads x f32[1,T,48], gamma f32[48]
// writes y f32[1,T,48]
// at most 98.5 kB moved, 98.3 kFLOP a dispatch

struct Dims {
  P: u32,
  T: u32,
  seed: u32,
}

@group(0) @binding(0) var x: texture_storage_2d<rgba32float, read>;
@group(0) @binding(1) var gamma: texture_storage_2d<rgba32float, read>;
@group(0) @binding(2) var y: texture_storage_2d<rgba32float, write>;
@group(0) @binding(3) var<uniform> dims: Dims;

fn load_x(i: u32) -> vec4f {
  return textureLoad(x, vec2u(i % 2048u, i / 2048u));
}

fn load_gamma(i: u32) -> vec4f {
  return textureLoad(gamma, vec2u(i % 16u, i / 16u));
}

fn store_y(i: u32, value: vec4f) {
  textureStore(y, vec2u(i % 2048u, i / 2048u), value);
}

const K4 = 12u;  // vec4s in a row
const LANES = 8u;

var<workgroup> lane_squares: array<f32, 32>;

@compute @workgroup_size(8, 1, 1)
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let lane = local.x;
  let row = workgroup.x * 4u;
  let at0 = min(row + 0u, dims.T - 1u) * K4;
  var squares0 = vec4f();
  let at1 = min(row + 1u, dims.T - 1u) * K4;
  var squares1 = vec4f();
  let at2 = min(row + 2u, dims.T - 1u) * K4;
  var squares2 = vec4f();
  let at3 = min(row + 3u, dims.T - 1u) * K4;
  var squares3 = vec4f();
  for (var k = lane; k < K4; k += LANES) {
    let x0 = load_x(at0 + k);
    squares0 += x0 * x0;
    let x1 = load_x(at1 + k);
    squares1 += x1 * x1;
    let x2 = load_x(at2 + k);
    squares2 += x2 * x2;
    let x3 = load_x(at3 + k);
    squares3 += x3 * x3;
  }
  lane_squares[0u + lane] = dot(squares0, vec4f(1.0));
  lane_squares[8u + lane] = dot(squares1, vec4f(1.0));
  lane_squares[16u + lane] = dot(squares2, vec4f(1.0));
  lane_squares[24u + lane] = dot(squares3, vec4f(1.0));
  workgroupBarrier();
  if (lane < 4u) {
    var total = 0.0;
    for (var i = 0u; i < LANES; i++) {
      total += lane_squares[lane * LANES + i];
    }
    lane_squares[lane * LANES] = inverseSqrt(total / 48.0 + 9.999999974752427e-07f);
  }
  workgroupBarrier();
  for (var n = lane; n < K4; n += LANES) {
    let g = load_gamma(n);
    if (row + 0u < dims.T) {
      let i = at0 + n;
      let acc = load_x(i) * lane_squares[0u] * g;
      store_y(i, acc);
    }
    if (row + 1u < dims.T) {
      let i = at1 + n;
      let acc = load_x(i) * lane_squares[8u] * g;
      store_y(i, acc);
    }
    if (row + 2u < dims.T) {
      let i = at2 + n;
      let acc = load_x(i) * lane_squares[16u] * g;
      store_y(i, acc);
    }
    if (row + 3u < dims.T) {
      let i = at3 + n;
      let acc = load_x(i) * lane_squares[24u] * g;
      store_y(i, acc);
    }
  }
}
