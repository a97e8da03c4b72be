// LayerNorm, then matrix times vector: y[n] = norm(x) . weight[n], each invocation 8 outputs.
//
// prefill, 1 dispatch:
//   /model/decoder/layer_norm/LayerNormalization
// variant 'rows8' for matvec_layernorm 32x364
// reads weight f32[364,32], x f32[1,1,32], gamma f32[32], beta f32[32]
// writes y f32[1,1,364]
// at most 48.9 kB moved, 23.3 kFLOP a dispatch

struct Dims {
  begin: u32,
  new_tokens: u32,
  opening: u32,
  padding: u32,
  past: u32,
  seed: u32,
  timed: u32,
}

@group(0) @binding(0) var weight: texture_storage_2d<rgba32float, read>;
@group(0) @binding(1) var x: texture_storage_2d<rgba32float, read>;
@group(0) @binding(2) var gamma: texture_storage_2d<rgba32float, read>;
@group(0) @binding(3) var beta: texture_2d<f32>;
@group(0) @binding(4) var y: texture_storage_2d<rgba32float, write>;
@group(0) @binding(5) var<uniform> dims: Dims;

fn load_weight(i: u32) -> vec4f {
  return textureLoad(weight, vec2u(i % 2048u, i / 2048u));
}

fn load_x(i: u32) -> vec4f {
  return textureLoad(x, vec2u((dims.new_tokens * 8u - 8u + i) % 512u, (dims.new_tokens * 8u - 8u + i) / 512u));
}

fn load_gamma(i: u32) -> vec4f {
  return textureLoad(gamma, vec2u(i % 16u, i / 16u));
}

fn load_beta(i: u32) -> vec4f {
  return textureLoad(beta, vec2u(i % 16u, i / 16u), 0);
}

fn store_y(i: u32, value: vec4f) {
  textureStore(y, vec2u(i % 128u, i / 128u), value);
}

const K4 = 8u;  // vec4s in x
const ROW = K4;  // texels in a row of the weight
const GROUPS = 92u;  // groups of 4 rows in the weight, which is packed [n/8][ROW][8]

fn store(group: u32, sum: vec4f) {
  if (group >= 91u) {
    return;
  }
  let n = group;  // vec4 of a row
  let acc = sum;
  store_y(n, acc);
}

@compute @workgroup_size(8, 1, 1)
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let group0 = workgroup.x * 16u + local.x;
  let w0 = min(group0, GROUPS - 1u) / 2u * ROW * 8u + group0 % 2u * 4u;
  let group1 = workgroup.x * 16u + 8u + local.x;
  let w1 = min(group1, GROUPS - 1u) / 2u * ROW * 8u + group1 % 2u * 4u;
  var total = vec4f();
  for (var k = 0u; k < K4; k++) {
    total += load_x(k);
  }
  let mean = dot(total, vec4f(1.0)) / 32.0;
  var squares = vec4f();
  for (var k = 0u; k < K4; k++) {
    let d = load_x(k) - mean;
    squares += d * d;
  }
  let scale = inverseSqrt(dot(squares, vec4f(1.0)) / 32.0 + 1e-05f);
  // Unrolled, so that sums stay in registers: sumG is the 4 numbers of group G. It stands for
  //   for (k) for (G) for (J) sumG[J] += dot(x[k], weight[4 groupG + J][k]);
  var sum0 = vec4f();
  var sum1 = vec4f();
  for (var k = 0u; k < K4; k++) {
    let a = (load_x(k) - mean) * scale * load_gamma(k) + load_beta(k);
    sum0 += vec4f(
      dot(a, load_weight(w0 + k * 8u)),
      dot(a, load_weight(w0 + k * 8u + 1u)),
      dot(a, load_weight(w0 + k * 8u + 2u)),
      dot(a, load_weight(w0 + k * 8u + 3u)),
    );
    sum1 += vec4f(
      dot(a, load_weight(w1 + k * 8u)),
      dot(a, load_weight(w1 + k * 8u + 1u)),
      dot(a, load_weight(w1 + k * 8u + 2u)),
      dot(a, load_weight(w1 + k * 8u + 3u)),
    );
  }

  store(group0, sum0);
  store(group1, sum1);
}
