// LayerNorm, then matrix times vector: y[n] = norm(x) . weight[n], each invocation 8 outputs.
//
// detect, 2 dispatches:
//   /model/decoder/layers.0/self_attn_layer_norm/LayerNormalization, /model/decoder/layers.0/self_attn/q_proj/MatMul,
//     /model/decoder/layers.0/self_attn/q_proj/Add, /model/decoder/layers.0/self_attn/k_proj/MatMul, +2
//   /model/decoder/layers.1/self_attn_layer_norm/LayerNormalization, /model/decoder/layers.1/self_attn/q_proj/MatMul,
//     /model/decoder/layers.1/self_attn/q_proj/Add, /model/decoder/layers.1/self_attn/k_proj/MatMul, +2
// step, 2 dispatches:
//   /model/decoder/layers.0/self_attn_layer_norm/LayerNormalization, /model/decoder/layers.0/self_attn/q_proj/MatMul,
//     /model/decoder/layers.0/self_attn/q_proj/Add, /model/decoder/layers.0/self_attn/k_proj/MatMul, +2
//   /model/decoder/layers.1/self_attn_layer_norm/LayerNormalization, /model/decoder/layers.1/self_attn/q_proj/MatMul,
//     /model/decoder/layers.1/self_attn/q_proj/Add, /model/decoder/layers.1/self_attn/k_proj/MatMul, +2
// variant 'rows8' for matvec_layernorm 32x96
// reads weight f32[96,32], x f32[1,1,32], bias f32[96], gamma f32[32], beta f32[32]
// writes y0 f32[1,1,32], y1 f32[1,2,past+1,16], y2 f32[1,2,past+1,16]
// at most 13.4 kB moved, 6.14 kFLOP a dispatch

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
@group(0) @binding(1) var x: texture_2d<f32>;
@group(0) @binding(2) var bias: texture_2d<f32>;
@group(0) @binding(3) var gamma: texture_2d<f32>;
@group(0) @binding(4) var beta: texture_2d<f32>;
@group(0) @binding(5) var y0: texture_storage_2d<rgba32float, write>;
@group(0) @binding(6) var y1: texture_storage_2d<rgba32float, write>;
@group(0) @binding(7) var y2: texture_storage_2d<rgba32float, write>;
@group(0) @binding(8) var<uniform> dims: Dims;

fn load_weight(i: u32) -> vec4f {
  return textureLoad(weight, vec2u(i % 1024u, i / 1024u));
}

fn load_x(i: u32) -> vec4f {
  return textureLoad(x, vec2u(i % 16u, i / 16u), 0);
}

fn load_bias(i: u32) -> vec4f {
  return textureLoad(bias, vec2u(i % 32u, i / 32u), 0);
}

fn load_gamma(i: u32) -> vec4f {
  return textureLoad(gamma, vec2u(i % 16u, i / 16u), 0);
}

fn load_beta(i: u32) -> vec4f {
  return textureLoad(beta, vec2u(i % 16u, i / 16u), 0);
}

fn store_y0(i: u32, value: vec4f) {
  textureStore(y0, vec2u(i % 16u, i / 16u), value);
}

fn store_y1(i: u32, value: vec4f) {
  textureStore(y1, vec2u(i % 512u, i / 512u), value);
}

fn store_y2(i: u32, value: vec4f) {
  textureStore(y2, vec2u(i % 512u, i / 512u), value);
}

const K4 = 8u;  // vec4s in x
const ROW = K4;  // texels in a row of the weight
const GROUPS = 24u;  // groups of 4 rows in the weight, which is packed [n/8][ROW][8]

fn store(group: u32, sum: vec4f) {
  if (group >= GROUPS) {
    return;
  }
  let n = group;  // vec4 of a row
  let acc = sum + load_bias(n);
  if (n < 8u) {
    store_y0(n, acc);
  } else if (n < 16u) {
    store_y1((n - 8u) / 4u * 256u + dims.past * 4u + (n - 8u) % 4u, acc);
  } else {
    store_y2((n - 16u) / 4u * 256u + dims.past * 4u + (n - 16u) % 4u, acc);
  }
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
