// Attention: out[t] = softmax(q[t] . k[s] * scale, s <= past + t) v[s], head by head, scores never stored.
//
// prefill, 2 dispatches:
//   /model/decoder/layers.0/self_attn/Mul, /model/decoder/layers.0/self_attn/Reshape,
//     /model/decoder/layers.0/self_attn/Transpose, /model/decoder/layers.0/self_attn/MatMul, +5
//   /model/decoder/layers.1/self_attn/Mul, /model/decoder/layers.1/self_attn/Reshape,
//     /model/decoder/layers.1/self_attn/Transpose, /model/decoder/layers.1/self_attn/MatMul, +5
// variant 'query32' for attention_16 new_tokensx32xnew_tokens+pastx32
// reads q f32[1,new_tokens,32], k f32[1,2,new_tokens+past,16], v f32[1,2,new_tokens+past,16]
// writes out f32[1,new_tokens,32]
// at most 48.9 kB moved, 1.04 MFLOP a dispatch

struct Dims {
  begin: u32,
  new_tokens: u32,
  opening: u32,
  padding: u32,
  past: u32,
  seed: u32,
  timed: u32,
}

@group(0) @binding(0) var q: texture_storage_2d<rgba32float, read>;
@group(0) @binding(1) var k: texture_storage_2d<rgba32float, read>;
@group(0) @binding(2) var v: texture_storage_2d<rgba32float, read>;
@group(0) @binding(3) var out: texture_storage_2d<rgba32float, write>;
@group(0) @binding(4) var<uniform> dims: Dims;

fn load_q(i: u32) -> vec4f {
  return textureLoad(q, vec2u(i % 512u, i / 512u));
}

fn load_k(i: u32) -> vec4f {
  return textureLoad(k, vec2u(i % 512u, i / 512u));
}

fn load_v(i: u32) -> vec4f {
  return textureLoad(v, vec2u(i % 512u, i / 512u));
}

fn store_out(i: u32, value: vec4f) {
  textureStore(out, vec2u(i % 512u, i / 512u), value);
}

const D4 = 4u;  // vec4s in a head
const Q_STRIDE = 8u;  // vec4s in a row of q and out
const KEY_STEP = 4u;  // vec4s from one key to the next
const HEAD_STEP = 256u;  // vec4s from one head of k and v to the next
const LOWEST = -3.4028234663852886e38;

@compute @workgroup_size(32, 1, 1)
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let head = workgroup.y;
  let start = workgroup.x * 32u;
  let first = start + local.x;  // this invocation's queries are first, first + 32, ...
  let last = dims.new_tokens - 1u;
  // Unrolled, because queries and results in arrays would not stay in registers: qR_I and outR_I are vec4 I of query R,
  // kI_C and vI_C of key C, and pR_C is the weight of key C for query R. Each step of the loop over s stands for
  //   for (C) for (R) { pR_C = exp(dot(qR, kC) - highestR); outR += pR_C * vC; }
  let t0 = min(first, last);
  let at0 = t0 * Q_STRIDE + head * D4;
  var highest0 = LOWEST;
  var sum0 = 0.0;
  var q0_0 = vec4f(); var q0_1 = vec4f(); var q0_2 = vec4f(); var q0_3 = vec4f();
  var out0_0 = vec4f(); var out0_1 = vec4f(); var out0_2 = vec4f(); var out0_3 = vec4f();
  // A loop instead of many loads keeps the shader quick to compile, and so do conditions instead of a switch, after
  // which every vec4 may come from every case.
  for (var i = 0u; i < D4; i++) {
    let part0 = load_q(at0 + i) * 0.25f;
    if (i == 0u) {
      q0_0 = part0;
    }
    if (i == 1u) {
      q0_1 = part0;
    }
    if (i == 2u) {
      q0_2 = part0;
    }
    if (i == 3u) {
      q0_3 = part0;
    }
  }
  // The softmax is taken online: what was summed so far is rescaled whenever a higher score comes.
  let keys = dims.past + min(start + 32u, dims.new_tokens);
  for (var s = 0u; s < keys; s++) {
    let at_key0 = min(s, keys - 1u) * KEY_STEP + head * HEAD_STEP;
    var products0_0 = vec4f();
    let k0_0 = load_k(at_key0);
    let k1_0 = load_k(at_key0 + 1u);
    let k2_0 = load_k(at_key0 + 2u);
    let k3_0 = load_k(at_key0 + 3u);
    products0_0 = fma(q0_0, k0_0, products0_0);
    products0_0 = fma(q0_1, k1_0, products0_0);
    products0_0 = fma(q0_2, k2_0, products0_0);
    products0_0 = fma(q0_3, k3_0, products0_0);
    let score0_0 = select(LOWEST, dot(products0_0, vec4f(1.0)), s <= dims.past + t0);
    let before0 = highest0;
    highest0 = max(highest0, score0_0);
    let keep0 = exp(before0 - highest0);
    let p0_0 = exp(score0_0 - highest0);
    sum0 = fma(sum0, keep0, p0_0);
    let v0_0 = load_v(at_key0);
    out0_0 = fma(out0_0, vec4f(keep0), p0_0 * v0_0);
    let v1_0 = load_v(at_key0 + 1u);
    out0_1 = fma(out0_1, vec4f(keep0), p0_0 * v1_0);
    let v2_0 = load_v(at_key0 + 2u);
    out0_2 = fma(out0_2, vec4f(keep0), p0_0 * v2_0);
    let v3_0 = load_v(at_key0 + 3u);
    out0_3 = fma(out0_3, vec4f(keep0), p0_0 * v3_0);
  }
  for (var i = 0u; i < D4; i++) {
    var result0 = out0_0;
    switch i {
      case 1u: {
        result0 = out0_1;
      }
      case 2u: {
        result0 = out0_2;
      }
      case 3u: {
        result0 = out0_3;
      }
      default: {}
    }
    if (first < dims.new_tokens) {
      store_out(at0 + i, result0 / sum0);
    }
  }
}
