// RMSNorm: y[row] = x[row] / sqrt(mean(x[row]^2) + epsilon) * gamma, 4 rows a workgroup of 8 lanes.
//
// prefill, 4 dispatches:
//   /model/layers.0/input_layernorm/Pow, /model/layers.0/input_layernorm/ReduceMean,
//     /model/layers.0/input_layernorm/Add, /model/layers.0/input_layernorm/Sqrt, +3
//   /model/layers.0/post_attention_layernorm/Pow, /model/layers.0/post_attention_layernorm/ReduceMean,
//     /model/layers.0/post_attention_layernorm/Add, /model/layers.0/post_attention_layernorm/Sqrt, +3
//   /model/layers.1/input_layernorm/Pow, /model/layers.1/input_layernorm/ReduceMean,
//     /model/layers.1/input_layernorm/Add, /model/layers.1/input_layernorm/Sqrt, +3
//   /model/layers.1/post_attention_layernorm/Pow, /model/layers.1/post_attention_layernorm/ReduceMean,
//     /model/layers.1/post_attention_layernorm/Add, /model/layers.1/post_attention_layernorm/Sqrt, +3
// variant 'lanes8x4' for rmsnorm new_tokensx48
// reads x f32[1,new_tokens,48], gamma f32[48]
// writes y f32[1,new_tokens,48]
// at most 98.5 kB moved, 98.3 kFLOP a dispatch

struct Dims {
  drawn: u32,
  new_tokens: u32,
  past: u32,
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
const LANES = 1u;
const LANES_Y = 8u;  // invocations that share a sum

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

@compute @workgroup_size(8, 1, 1)
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let row = workgroup.x * 4u;
  let at0 = min(row, dims.new_tokens - 1u) * K4;
  var squares0 = vec4f();
  let at1 = min(row + 1u, dims.new_tokens - 1u) * K4;
  var squares1 = vec4f();
  let at2 = min(row + 2u, dims.new_tokens - 1u) * K4;
  var squares2 = vec4f();
  let at3 = min(row + 3u, dims.new_tokens - 1u) * K4;
  var squares3 = vec4f();
  for (var k = local.x; k < K4; k += 8u) {
    let x0 = load_x(at0 + k);
    squares0 += x0 * x0;
    let x1 = load_x(at1 + k);
    squares1 += x1 * x1;
    let x2 = load_x(at2 + k);
    squares2 += x2 * x2;
    let x3 = load_x(at3 + k);
    squares3 += x3 * x3;
  }
  let own_squares = vec4f(
    dot(squares0, vec4f(1.0)),
    dot(squares1, vec4f(1.0)),
    dot(squares2, vec4f(1.0)),
    dot(squares3, vec4f(1.0)),
  );
  let squares = workgroup_sum(own_squares, local.yxz);
  let scales = inverseSqrt(squares / 48.0 + 1e-06f);
  for (var k = local.x; k < K4; k += 8u) {
    let g = load_gamma(k);
    if (row < dims.new_tokens) {
      let n = k;
      let i = at0 + n;
      let acc = load_x(i) * scales[0] * g;
      store_y(i, acc);
    }
    if (row + 1u < dims.new_tokens) {
      let n = k;
      let i = at1 + n;
      let acc = load_x(i) * scales[1] * g;
      store_y(i, acc);
    }
    if (row + 2u < dims.new_tokens) {
      let n = k;
      let i = at2 + n;
      let acc = load_x(i) * scales[2] * g;
      store_y(i, acc);
    }
    if (row + 3u < dims.new_tokens) {
      let n = k;
      let i = at3 + n;
      let acc = load_x(i) * scales[3] * g;
      store_y(i, acc);
    }
  }
}
