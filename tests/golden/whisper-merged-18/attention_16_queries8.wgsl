// Attention: out[t] = softmax(q[t] . k[s] * scale) v[s], head by head, scores never stored.
//
// encode, 2 dispatches:
//   /layers.0/self_attn/Mul, /layers.0/self_attn/Reshape, /layers.0/self_attn/Transpose, /layers.0/self_attn/MatMul, +2
//   /layers.1/self_attn/Mul, /layers.1/self_attn/Reshape, /layers.1/self_attn/Transpose, /layers.1/self_attn/MatMul, +2
// design 'queries8' for attention_16 50x32x50x32
// reads q f32[1,50,32], k f32[1,50,32], v f32[1,50,32]
// writes out f32[1,50,32]
// at most 25.6 kB moved, 320 kFLOP a dispatch

@group(0) @binding(0) var q: texture_storage_2d<rgba32float, read>;
@group(0) @binding(1) var k: texture_storage_2d<rgba32float, read>;
@group(0) @binding(2) var v: texture_storage_2d<rgba32float, read>;
@group(0) @binding(3) var out: texture_storage_2d<rgba32float, write>;

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
const KV_STRIDE = 8u;  // vec4s in a row of k and v
const LANES = 8u;
const LOWEST = -3.4028234663852886e38;

@compute @workgroup_size(8, 1, 1)
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let head = workgroup.y;
  let first = workgroup.x * 64u + local.x;  // this invocation's queries are first, first + LANES, ...
  if (first >= 50u) {
    return;
  }
  let last = 50u - 1u;
  let t0 = min(first + 0u, last);
  let at0 = t0 * Q_STRIDE + head * D4;
  var highest0 = LOWEST;
  var sum0 = 0.0;
var q0_0 = vec4f(); var q0_1 = vec4f(); var q0_2 = vec4f(); var q0_3 = vec4f();
var out0_0 = vec4f(); var out0_1 = vec4f(); var out0_2 = vec4f(); var out0_3 = vec4f();
  let t1 = min(first + 8u, last);
  let at1 = t1 * Q_STRIDE + head * D4;
  var highest1 = LOWEST;
  var sum1 = 0.0;
var q1_0 = vec4f(); var q1_1 = vec4f(); var q1_2 = vec4f(); var q1_3 = vec4f();
var out1_0 = vec4f(); var out1_1 = vec4f(); var out1_2 = vec4f(); var out1_3 = vec4f();
  let t2 = min(first + 16u, last);
  let at2 = t2 * Q_STRIDE + head * D4;
  var highest2 = LOWEST;
  var sum2 = 0.0;
var q2_0 = vec4f(); var q2_1 = vec4f(); var q2_2 = vec4f(); var q2_3 = vec4f();
var out2_0 = vec4f(); var out2_1 = vec4f(); var out2_2 = vec4f(); var out2_3 = vec4f();
  let t3 = min(first + 24u, last);
  let at3 = t3 * Q_STRIDE + head * D4;
  var highest3 = LOWEST;
  var sum3 = 0.0;
var q3_0 = vec4f(); var q3_1 = vec4f(); var q3_2 = vec4f(); var q3_3 = vec4f();
var out3_0 = vec4f(); var out3_1 = vec4f(); var out3_2 = vec4f(); var out3_3 = vec4f();
  let t4 = min(first + 32u, last);
  let at4 = t4 * Q_STRIDE + head * D4;
  var highest4 = LOWEST;
  var sum4 = 0.0;
var q4_0 = vec4f(); var q4_1 = vec4f(); var q4_2 = vec4f(); var q4_3 = vec4f();
var out4_0 = vec4f(); var out4_1 = vec4f(); var out4_2 = vec4f(); var out4_3 = vec4f();
  let t5 = min(first + 40u, last);
  let at5 = t5 * Q_STRIDE + head * D4;
  var highest5 = LOWEST;
  var sum5 = 0.0;
var q5_0 = vec4f(); var q5_1 = vec4f(); var q5_2 = vec4f(); var q5_3 = vec4f();
var out5_0 = vec4f(); var out5_1 = vec4f(); var out5_2 = vec4f(); var out5_3 = vec4f();
  let t6 = min(first + 48u, last);
  let at6 = t6 * Q_STRIDE + head * D4;
  var highest6 = LOWEST;
  var sum6 = 0.0;
var q6_0 = vec4f(); var q6_1 = vec4f(); var q6_2 = vec4f(); var q6_3 = vec4f();
var out6_0 = vec4f(); var out6_1 = vec4f(); var out6_2 = vec4f(); var out6_3 = vec4f();
  let t7 = min(first + 56u, last);
  let at7 = t7 * Q_STRIDE + head * D4;
  var highest7 = LOWEST;
  var sum7 = 0.0;
var q7_0 = vec4f(); var q7_1 = vec4f(); var q7_2 = vec4f(); var q7_3 = vec4f();
var out7_0 = vec4f(); var out7_1 = vec4f(); var out7_2 = vec4f(); var out7_3 = vec4f();
  // A loop with a switch instead of many loads keeps the shader quick to compile.
  for (var i = 0u; i < D4; i++) {
    let part0 = load_q(at0 + i) * 0.25f;
    let part1 = load_q(at1 + i) * 0.25f;
    let part2 = load_q(at2 + i) * 0.25f;
    let part3 = load_q(at3 + i) * 0.25f;
    let part4 = load_q(at4 + i) * 0.25f;
    let part5 = load_q(at5 + i) * 0.25f;
    let part6 = load_q(at6 + i) * 0.25f;
    let part7 = load_q(at7 + i) * 0.25f;
    switch i {
      case 0u: { q0_0 = part0; q1_0 = part1; q2_0 = part2; q3_0 = part3; q4_0 = part4; q5_0 = part5; q6_0 = part6; q7_0 = part7; }
      case 1u: { q0_1 = part0; q1_1 = part1; q2_1 = part2; q3_1 = part3; q4_1 = part4; q5_1 = part5; q6_1 = part6; q7_1 = part7; }
      case 2u: { q0_2 = part0; q1_2 = part1; q2_2 = part2; q3_2 = part3; q4_2 = part4; q5_2 = part5; q6_2 = part6; q7_2 = part7; }
      case 3u: { q0_3 = part0; q1_3 = part1; q2_3 = part2; q3_3 = part3; q4_3 = part4; q5_3 = part5; q6_3 = part6; q7_3 = part7; }
      default: {}
    }
  }
  // The softmax is taken online: what was summed so far is rescaled whenever a higher score comes.
  let keys = 50u;
  for (var s = 0u; s < keys; s += 4u) {
    let at_key0 = min(s + 0u, keys - 1u) * KV_STRIDE + head * D4;
    var products0_0 = vec4f();
    var products1_0 = vec4f();
    var products2_0 = vec4f();
    var products3_0 = vec4f();
    var products4_0 = vec4f();
    var products5_0 = vec4f();
    var products6_0 = vec4f();
    var products7_0 = vec4f();
    let at_key1 = min(s + 1u, keys - 1u) * KV_STRIDE + head * D4;
    var products0_1 = vec4f();
    var products1_1 = vec4f();
    var products2_1 = vec4f();
    var products3_1 = vec4f();
    var products4_1 = vec4f();
    var products5_1 = vec4f();
    var products6_1 = vec4f();
    var products7_1 = vec4f();
    let at_key2 = min(s + 2u, keys - 1u) * KV_STRIDE + head * D4;
    var products0_2 = vec4f();
    var products1_2 = vec4f();
    var products2_2 = vec4f();
    var products3_2 = vec4f();
    var products4_2 = vec4f();
    var products5_2 = vec4f();
    var products6_2 = vec4f();
    var products7_2 = vec4f();
    let at_key3 = min(s + 3u, keys - 1u) * KV_STRIDE + head * D4;
    var products0_3 = vec4f();
    var products1_3 = vec4f();
    var products2_3 = vec4f();
    var products3_3 = vec4f();
    var products4_3 = vec4f();
    var products5_3 = vec4f();
    var products6_3 = vec4f();
    var products7_3 = vec4f();
    let k0_0 = load_k(at_key0 + 0u);
    let k0_1 = load_k(at_key1 + 0u);
    let k0_2 = load_k(at_key2 + 0u);
    let k0_3 = load_k(at_key3 + 0u);
    products0_0 = fma(q0_0, k0_0, products0_0);
    products0_1 = fma(q0_0, k0_1, products0_1);
    products0_2 = fma(q0_0, k0_2, products0_2);
    products0_3 = fma(q0_0, k0_3, products0_3);
    products1_0 = fma(q1_0, k0_0, products1_0);
    products1_1 = fma(q1_0, k0_1, products1_1);
    products1_2 = fma(q1_0, k0_2, products1_2);
    products1_3 = fma(q1_0, k0_3, products1_3);
    products2_0 = fma(q2_0, k0_0, products2_0);
    products2_1 = fma(q2_0, k0_1, products2_1);
    products2_2 = fma(q2_0, k0_2, products2_2);
    products2_3 = fma(q2_0, k0_3, products2_3);
    products3_0 = fma(q3_0, k0_0, products3_0);
    products3_1 = fma(q3_0, k0_1, products3_1);
    products3_2 = fma(q3_0, k0_2, products3_2);
    products3_3 = fma(q3_0, k0_3, products3_3);
    products4_0 = fma(q4_0, k0_0, products4_0);
    products4_1 = fma(q4_0, k0_1, products4_1);
    products4_2 = fma(q4_0, k0_2, products4_2);
    products4_3 = fma(q4_0, k0_3, products4_3);
    products5_0 = fma(q5_0, k0_0, products5_0);
    products5_1 = fma(q5_0, k0_1, products5_1);
    products5_2 = fma(q5_0, k0_2, products5_2);
    products5_3 = fma(q5_0, k0_3, products5_3);
    products6_0 = fma(q6_0, k0_0, products6_0);
    products6_1 = fma(q6_0, k0_1, products6_1);
    products6_2 = fma(q6_0, k0_2, products6_2);
    products6_3 = fma(q6_0, k0_3, products6_3);
    products7_0 = fma(q7_0, k0_0, products7_0);
    products7_1 = fma(q7_0, k0_1, products7_1);
    products7_2 = fma(q7_0, k0_2, products7_2);
    products7_3 = fma(q7_0, k0_3, products7_3);
    let k1_0 = load_k(at_key0 + 1u);
    let k1_1 = load_k(at_key1 + 1u);
    let k1_2 = load_k(at_key2 + 1u);
    let k1_3 = load_k(at_key3 + 1u);
    products0_0 = fma(q0_1, k1_0, products0_0);
    products0_1 = fma(q0_1, k1_1, products0_1);
    products0_2 = fma(q0_1, k1_2, products0_2);
    products0_3 = fma(q0_1, k1_3, products0_3);
    products1_0 = fma(q1_1, k1_0, products1_0);
    products1_1 = fma(q1_1, k1_1, products1_1);
    products1_2 = fma(q1_1, k1_2, products1_2);
    products1_3 = fma(q1_1, k1_3, products1_3);
    products2_0 = fma(q2_1, k1_0, products2_0);
    products2_1 = fma(q2_1, k1_1, products2_1);
    products2_2 = fma(q2_1, k1_2, products2_2);
    products2_3 = fma(q2_1, k1_3, products2_3);
    products3_0 = fma(q3_1, k1_0, products3_0);
    products3_1 = fma(q3_1, k1_1, products3_1);
    products3_2 = fma(q3_1, k1_2, products3_2);
    products3_3 = fma(q3_1, k1_3, products3_3);
    products4_0 = fma(q4_1, k1_0, products4_0);
    products4_1 = fma(q4_1, k1_1, products4_1);
    products4_2 = fma(q4_1, k1_2, products4_2);
    products4_3 = fma(q4_1, k1_3, products4_3);
    products5_0 = fma(q5_1, k1_0, products5_0);
    products5_1 = fma(q5_1, k1_1, products5_1);
    products5_2 = fma(q5_1, k1_2, products5_2);
    products5_3 = fma(q5_1, k1_3, products5_3);
    products6_0 = fma(q6_1, k1_0, products6_0);
    products6_1 = fma(q6_1, k1_1, products6_1);
    products6_2 = fma(q6_1, k1_2, products6_2);
    products6_3 = fma(q6_1, k1_3, products6_3);
    products7_0 = fma(q7_1, k1_0, products7_0);
    products7_1 = fma(q7_1, k1_1, products7_1);
    products7_2 = fma(q7_1, k1_2, products7_2);
    products7_3 = fma(q7_1, k1_3, products7_3);
    let k2_0 = load_k(at_key0 + 2u);
    let k2_1 = load_k(at_key1 + 2u);
    let k2_2 = load_k(at_key2 + 2u);
    let k2_3 = load_k(at_key3 + 2u);
    products0_0 = fma(q0_2, k2_0, products0_0);
    products0_1 = fma(q0_2, k2_1, products0_1);
    products0_2 = fma(q0_2, k2_2, products0_2);
    products0_3 = fma(q0_2, k2_3, products0_3);
    products1_0 = fma(q1_2, k2_0, products1_0);
    products1_1 = fma(q1_2, k2_1, products1_1);
    products1_2 = fma(q1_2, k2_2, products1_2);
    products1_3 = fma(q1_2, k2_3, products1_3);
    products2_0 = fma(q2_2, k2_0, products2_0);
    products2_1 = fma(q2_2, k2_1, products2_1);
    products2_2 = fma(q2_2, k2_2, products2_2);
    products2_3 = fma(q2_2, k2_3, products2_3);
    products3_0 = fma(q3_2, k2_0, products3_0);
    products3_1 = fma(q3_2, k2_1, products3_1);
    products3_2 = fma(q3_2, k2_2, products3_2);
    products3_3 = fma(q3_2, k2_3, products3_3);
    products4_0 = fma(q4_2, k2_0, products4_0);
    products4_1 = fma(q4_2, k2_1, products4_1);
    products4_2 = fma(q4_2, k2_2, products4_2);
    products4_3 = fma(q4_2, k2_3, products4_3);
    products5_0 = fma(q5_2, k2_0, products5_0);
    products5_1 = fma(q5_2, k2_1, products5_1);
    products5_2 = fma(q5_2, k2_2, products5_2);
    products5_3 = fma(q5_2, k2_3, products5_3);
    products6_0 = fma(q6_2, k2_0, products6_0);
    products6_1 = fma(q6_2, k2_1, products6_1);
    products6_2 = fma(q6_2, k2_2, products6_2);
    products6_3 = fma(q6_2, k2_3, products6_3);
    products7_0 = fma(q7_2, k2_0, products7_0);
    products7_1 = fma(q7_2, k2_1, products7_1);
    products7_2 = fma(q7_2, k2_2, products7_2);
    products7_3 = fma(q7_2, k2_3, products7_3);
    let k3_0 = load_k(at_key0 + 3u);
    let k3_1 = load_k(at_key1 + 3u);
    let k3_2 = load_k(at_key2 + 3u);
    let k3_3 = load_k(at_key3 + 3u);
    products0_0 = fma(q0_3, k3_0, products0_0);
    products0_1 = fma(q0_3, k3_1, products0_1);
    products0_2 = fma(q0_3, k3_2, products0_2);
    products0_3 = fma(q0_3, k3_3, products0_3);
    products1_0 = fma(q1_3, k3_0, products1_0);
    products1_1 = fma(q1_3, k3_1, products1_1);
    products1_2 = fma(q1_3, k3_2, products1_2);
    products1_3 = fma(q1_3, k3_3, products1_3);
    products2_0 = fma(q2_3, k3_0, products2_0);
    products2_1 = fma(q2_3, k3_1, products2_1);
    products2_2 = fma(q2_3, k3_2, products2_2);
    products2_3 = fma(q2_3, k3_3, products2_3);
    products3_0 = fma(q3_3, k3_0, products3_0);
    products3_1 = fma(q3_3, k3_1, products3_1);
    products3_2 = fma(q3_3, k3_2, products3_2);
    products3_3 = fma(q3_3, k3_3, products3_3);
    products4_0 = fma(q4_3, k3_0, products4_0);
    products4_1 = fma(q4_3, k3_1, products4_1);
    products4_2 = fma(q4_3, k3_2, products4_2);
    products4_3 = fma(q4_3, k3_3, products4_3);
    products5_0 = fma(q5_3, k3_0, products5_0);
    products5_1 = fma(q5_3, k3_1, products5_1);
    products5_2 = fma(q5_3, k3_2, products5_2);
    products5_3 = fma(q5_3, k3_3, products5_3);
    products6_0 = fma(q6_3, k3_0, products6_0);
    products6_1 = fma(q6_3, k3_1, products6_1);
    products6_2 = fma(q6_3, k3_2, products6_2);
    products6_3 = fma(q6_3, k3_3, products6_3);
    products7_0 = fma(q7_3, k3_0, products7_0);
    products7_1 = fma(q7_3, k3_1, products7_1);
    products7_2 = fma(q7_3, k3_2, products7_2);
    products7_3 = fma(q7_3, k3_3, products7_3);
    let score0_0 = select(LOWEST, (dot(products0_0, vec4f(1.0))), s + 0u < keys);
    let score0_1 = select(LOWEST, (dot(products0_1, vec4f(1.0))), s + 1u < keys);
    let score0_2 = select(LOWEST, (dot(products0_2, vec4f(1.0))), s + 2u < keys);
    let score0_3 = select(LOWEST, (dot(products0_3, vec4f(1.0))), s + 3u < keys);
    let before0 = highest0;
    highest0 = max(highest0, score0_0);
    highest0 = max(highest0, score0_1);
    highest0 = max(highest0, score0_2);
    highest0 = max(highest0, score0_3);
    let keep0 = exp(before0 - highest0);
    let p0_0 = exp(score0_0 - highest0);
    let p0_1 = exp(score0_1 - highest0);
    let p0_2 = exp(score0_2 - highest0);
    let p0_3 = exp(score0_3 - highest0);
    sum0 = fma(sum0, keep0, p0_0 + p0_1 + p0_2 + p0_3);
    let score1_0 = select(LOWEST, (dot(products1_0, vec4f(1.0))), s + 0u < keys);
    let score1_1 = select(LOWEST, (dot(products1_1, vec4f(1.0))), s + 1u < keys);
    let score1_2 = select(LOWEST, (dot(products1_2, vec4f(1.0))), s + 2u < keys);
    let score1_3 = select(LOWEST, (dot(products1_3, vec4f(1.0))), s + 3u < keys);
    let before1 = highest1;
    highest1 = max(highest1, score1_0);
    highest1 = max(highest1, score1_1);
    highest1 = max(highest1, score1_2);
    highest1 = max(highest1, score1_3);
    let keep1 = exp(before1 - highest1);
    let p1_0 = exp(score1_0 - highest1);
    let p1_1 = exp(score1_1 - highest1);
    let p1_2 = exp(score1_2 - highest1);
    let p1_3 = exp(score1_3 - highest1);
    sum1 = fma(sum1, keep1, p1_0 + p1_1 + p1_2 + p1_3);
    let score2_0 = select(LOWEST, (dot(products2_0, vec4f(1.0))), s + 0u < keys);
    let score2_1 = select(LOWEST, (dot(products2_1, vec4f(1.0))), s + 1u < keys);
    let score2_2 = select(LOWEST, (dot(products2_2, vec4f(1.0))), s + 2u < keys);
    let score2_3 = select(LOWEST, (dot(products2_3, vec4f(1.0))), s + 3u < keys);
    let before2 = highest2;
    highest2 = max(highest2, score2_0);
    highest2 = max(highest2, score2_1);
    highest2 = max(highest2, score2_2);
    highest2 = max(highest2, score2_3);
    let keep2 = exp(before2 - highest2);
    let p2_0 = exp(score2_0 - highest2);
    let p2_1 = exp(score2_1 - highest2);
    let p2_2 = exp(score2_2 - highest2);
    let p2_3 = exp(score2_3 - highest2);
    sum2 = fma(sum2, keep2, p2_0 + p2_1 + p2_2 + p2_3);
    let score3_0 = select(LOWEST, (dot(products3_0, vec4f(1.0))), s + 0u < keys);
    let score3_1 = select(LOWEST, (dot(products3_1, vec4f(1.0))), s + 1u < keys);
    let score3_2 = select(LOWEST, (dot(products3_2, vec4f(1.0))), s + 2u < keys);
    let score3_3 = select(LOWEST, (dot(products3_3, vec4f(1.0))), s + 3u < keys);
    let before3 = highest3;
    highest3 = max(highest3, score3_0);
    highest3 = max(highest3, score3_1);
    highest3 = max(highest3, score3_2);
    highest3 = max(highest3, score3_3);
    let keep3 = exp(before3 - highest3);
    let p3_0 = exp(score3_0 - highest3);
    let p3_1 = exp(score3_1 - highest3);
    let p3_2 = exp(score3_2 - highest3);
    let p3_3 = exp(score3_3 - highest3);
    sum3 = fma(sum3, keep3, p3_0 + p3_1 + p3_2 + p3_3);
    let score4_0 = select(LOWEST, (dot(products4_0, vec4f(1.0))), s + 0u < keys);
    let score4_1 = select(LOWEST, (dot(products4_1, vec4f(1.0))), s + 1u < keys);
    let score4_2 = select(LOWEST, (dot(products4_2, vec4f(1.0))), s + 2u < keys);
    let score4_3 = select(LOWEST, (dot(products4_3, vec4f(1.0))), s + 3u < keys);
    let before4 = highest4;
    highest4 = max(highest4, score4_0);
    highest4 = max(highest4, score4_1);
    highest4 = max(highest4, score4_2);
    highest4 = max(highest4, score4_3);
    let keep4 = exp(before4 - highest4);
    let p4_0 = exp(score4_0 - highest4);
    let p4_1 = exp(score4_1 - highest4);
    let p4_2 = exp(score4_2 - highest4);
    let p4_3 = exp(score4_3 - highest4);
    sum4 = fma(sum4, keep4, p4_0 + p4_1 + p4_2 + p4_3);
    let score5_0 = select(LOWEST, (dot(products5_0, vec4f(1.0))), s + 0u < keys);
    let score5_1 = select(LOWEST, (dot(products5_1, vec4f(1.0))), s + 1u < keys);
    let score5_2 = select(LOWEST, (dot(products5_2, vec4f(1.0))), s + 2u < keys);
    let score5_3 = select(LOWEST, (dot(products5_3, vec4f(1.0))), s + 3u < keys);
    let before5 = highest5;
    highest5 = max(highest5, score5_0);
    highest5 = max(highest5, score5_1);
    highest5 = max(highest5, score5_2);
    highest5 = max(highest5, score5_3);
    let keep5 = exp(before5 - highest5);
    let p5_0 = exp(score5_0 - highest5);
    let p5_1 = exp(score5_1 - highest5);
    let p5_2 = exp(score5_2 - highest5);
    let p5_3 = exp(score5_3 - highest5);
    sum5 = fma(sum5, keep5, p5_0 + p5_1 + p5_2 + p5_3);
    let score6_0 = select(LOWEST, (dot(products6_0, vec4f(1.0))), s + 0u < keys);
    let score6_1 = select(LOWEST, (dot(products6_1, vec4f(1.0))), s + 1u < keys);
    let score6_2 = select(LOWEST, (dot(products6_2, vec4f(1.0))), s + 2u < keys);
    let score6_3 = select(LOWEST, (dot(products6_3, vec4f(1.0))), s + 3u < keys);
    let before6 = highest6;
    highest6 = max(highest6, score6_0);
    highest6 = max(highest6, score6_1);
    highest6 = max(highest6, score6_2);
    highest6 = max(highest6, score6_3);
    let keep6 = exp(before6 - highest6);
    let p6_0 = exp(score6_0 - highest6);
    let p6_1 = exp(score6_1 - highest6);
    let p6_2 = exp(score6_2 - highest6);
    let p6_3 = exp(score6_3 - highest6);
    sum6 = fma(sum6, keep6, p6_0 + p6_1 + p6_2 + p6_3);
    let score7_0 = select(LOWEST, (dot(products7_0, vec4f(1.0))), s + 0u < keys);
    let score7_1 = select(LOWEST, (dot(products7_1, vec4f(1.0))), s + 1u < keys);
    let score7_2 = select(LOWEST, (dot(products7_2, vec4f(1.0))), s + 2u < keys);
    let score7_3 = select(LOWEST, (dot(products7_3, vec4f(1.0))), s + 3u < keys);
    let before7 = highest7;
    highest7 = max(highest7, score7_0);
    highest7 = max(highest7, score7_1);
    highest7 = max(highest7, score7_2);
    highest7 = max(highest7, score7_3);
    let keep7 = exp(before7 - highest7);
    let p7_0 = exp(score7_0 - highest7);
    let p7_1 = exp(score7_1 - highest7);
    let p7_2 = exp(score7_2 - highest7);
    let p7_3 = exp(score7_3 - highest7);
    sum7 = fma(sum7, keep7, p7_0 + p7_1 + p7_2 + p7_3);
    let v0_0 = load_v(at_key0 + 0u);
    let v0_1 = load_v(at_key1 + 0u);
    let v0_2 = load_v(at_key2 + 0u);
    let v0_3 = load_v(at_key3 + 0u);
    out0_0 = fma(out0_0, vec4f(keep0), fma(vec4f(p0_3), v0_3, fma(vec4f(p0_2), v0_2, fma(vec4f(p0_1), v0_1, p0_0 * v0_0))));
    out1_0 = fma(out1_0, vec4f(keep1), fma(vec4f(p1_3), v0_3, fma(vec4f(p1_2), v0_2, fma(vec4f(p1_1), v0_1, p1_0 * v0_0))));
    out2_0 = fma(out2_0, vec4f(keep2), fma(vec4f(p2_3), v0_3, fma(vec4f(p2_2), v0_2, fma(vec4f(p2_1), v0_1, p2_0 * v0_0))));
    out3_0 = fma(out3_0, vec4f(keep3), fma(vec4f(p3_3), v0_3, fma(vec4f(p3_2), v0_2, fma(vec4f(p3_1), v0_1, p3_0 * v0_0))));
    out4_0 = fma(out4_0, vec4f(keep4), fma(vec4f(p4_3), v0_3, fma(vec4f(p4_2), v0_2, fma(vec4f(p4_1), v0_1, p4_0 * v0_0))));
    out5_0 = fma(out5_0, vec4f(keep5), fma(vec4f(p5_3), v0_3, fma(vec4f(p5_2), v0_2, fma(vec4f(p5_1), v0_1, p5_0 * v0_0))));
    out6_0 = fma(out6_0, vec4f(keep6), fma(vec4f(p6_3), v0_3, fma(vec4f(p6_2), v0_2, fma(vec4f(p6_1), v0_1, p6_0 * v0_0))));
    out7_0 = fma(out7_0, vec4f(keep7), fma(vec4f(p7_3), v0_3, fma(vec4f(p7_2), v0_2, fma(vec4f(p7_1), v0_1, p7_0 * v0_0))));
    let v1_0 = load_v(at_key0 + 1u);
    let v1_1 = load_v(at_key1 + 1u);
    let v1_2 = load_v(at_key2 + 1u);
    let v1_3 = load_v(at_key3 + 1u);
    out0_1 = fma(out0_1, vec4f(keep0), fma(vec4f(p0_3), v1_3, fma(vec4f(p0_2), v1_2, fma(vec4f(p0_1), v1_1, p0_0 * v1_0))));
    out1_1 = fma(out1_1, vec4f(keep1), fma(vec4f(p1_3), v1_3, fma(vec4f(p1_2), v1_2, fma(vec4f(p1_1), v1_1, p1_0 * v1_0))));
    out2_1 = fma(out2_1, vec4f(keep2), fma(vec4f(p2_3), v1_3, fma(vec4f(p2_2), v1_2, fma(vec4f(p2_1), v1_1, p2_0 * v1_0))));
    out3_1 = fma(out3_1, vec4f(keep3), fma(vec4f(p3_3), v1_3, fma(vec4f(p3_2), v1_2, fma(vec4f(p3_1), v1_1, p3_0 * v1_0))));
    out4_1 = fma(out4_1, vec4f(keep4), fma(vec4f(p4_3), v1_3, fma(vec4f(p4_2), v1_2, fma(vec4f(p4_1), v1_1, p4_0 * v1_0))));
    out5_1 = fma(out5_1, vec4f(keep5), fma(vec4f(p5_3), v1_3, fma(vec4f(p5_2), v1_2, fma(vec4f(p5_1), v1_1, p5_0 * v1_0))));
    out6_1 = fma(out6_1, vec4f(keep6), fma(vec4f(p6_3), v1_3, fma(vec4f(p6_2), v1_2, fma(vec4f(p6_1), v1_1, p6_0 * v1_0))));
    out7_1 = fma(out7_1, vec4f(keep7), fma(vec4f(p7_3), v1_3, fma(vec4f(p7_2), v1_2, fma(vec4f(p7_1), v1_1, p7_0 * v1_0))));
    let v2_0 = load_v(at_key0 + 2u);
    let v2_1 = load_v(at_key1 + 2u);
    let v2_2 = load_v(at_key2 + 2u);
    let v2_3 = load_v(at_key3 + 2u);
    out0_2 = fma(out0_2, vec4f(keep0), fma(vec4f(p0_3), v2_3, fma(vec4f(p0_2), v2_2, fma(vec4f(p0_1), v2_1, p0_0 * v2_0))));
    out1_2 = fma(out1_2, vec4f(keep1), fma(vec4f(p1_3), v2_3, fma(vec4f(p1_2), v2_2, fma(vec4f(p1_1), v2_1, p1_0 * v2_0))));
    out2_2 = fma(out2_2, vec4f(keep2), fma(vec4f(p2_3), v2_3, fma(vec4f(p2_2), v2_2, fma(vec4f(p2_1), v2_1, p2_0 * v2_0))));
    out3_2 = fma(out3_2, vec4f(keep3), fma(vec4f(p3_3), v2_3, fma(vec4f(p3_2), v2_2, fma(vec4f(p3_1), v2_1, p3_0 * v2_0))));
    out4_2 = fma(out4_2, vec4f(keep4), fma(vec4f(p4_3), v2_3, fma(vec4f(p4_2), v2_2, fma(vec4f(p4_1), v2_1, p4_0 * v2_0))));
    out5_2 = fma(out5_2, vec4f(keep5), fma(vec4f(p5_3), v2_3, fma(vec4f(p5_2), v2_2, fma(vec4f(p5_1), v2_1, p5_0 * v2_0))));
    out6_2 = fma(out6_2, vec4f(keep6), fma(vec4f(p6_3), v2_3, fma(vec4f(p6_2), v2_2, fma(vec4f(p6_1), v2_1, p6_0 * v2_0))));
    out7_2 = fma(out7_2, vec4f(keep7), fma(vec4f(p7_3), v2_3, fma(vec4f(p7_2), v2_2, fma(vec4f(p7_1), v2_1, p7_0 * v2_0))));
    let v3_0 = load_v(at_key0 + 3u);
    let v3_1 = load_v(at_key1 + 3u);
    let v3_2 = load_v(at_key2 + 3u);
    let v3_3 = load_v(at_key3 + 3u);
    out0_3 = fma(out0_3, vec4f(keep0), fma(vec4f(p0_3), v3_3, fma(vec4f(p0_2), v3_2, fma(vec4f(p0_1), v3_1, p0_0 * v3_0))));
    out1_3 = fma(out1_3, vec4f(keep1), fma(vec4f(p1_3), v3_3, fma(vec4f(p1_2), v3_2, fma(vec4f(p1_1), v3_1, p1_0 * v3_0))));
    out2_3 = fma(out2_3, vec4f(keep2), fma(vec4f(p2_3), v3_3, fma(vec4f(p2_2), v3_2, fma(vec4f(p2_1), v3_1, p2_0 * v3_0))));
    out3_3 = fma(out3_3, vec4f(keep3), fma(vec4f(p3_3), v3_3, fma(vec4f(p3_2), v3_2, fma(vec4f(p3_1), v3_1, p3_0 * v3_0))));
    out4_3 = fma(out4_3, vec4f(keep4), fma(vec4f(p4_3), v3_3, fma(vec4f(p4_2), v3_2, fma(vec4f(p4_1), v3_1, p4_0 * v3_0))));
    out5_3 = fma(out5_3, vec4f(keep5), fma(vec4f(p5_3), v3_3, fma(vec4f(p5_2), v3_2, fma(vec4f(p5_1), v3_1, p5_0 * v3_0))));
    out6_3 = fma(out6_3, vec4f(keep6), fma(vec4f(p6_3), v3_3, fma(vec4f(p6_2), v3_2, fma(vec4f(p6_1), v3_1, p6_0 * v3_0))));
    out7_3 = fma(out7_3, vec4f(keep7), fma(vec4f(p7_3), v3_3, fma(vec4f(p7_2), v3_2, fma(vec4f(p7_1), v3_1, p7_0 * v3_0))));
  }
  for (var i = 0u; i < D4; i++) {
    var result0 = out0_0;
    var result1 = out1_0;
    var result2 = out2_0;
    var result3 = out3_0;
    var result4 = out4_0;
    var result5 = out5_0;
    var result6 = out6_0;
    var result7 = out7_0;
    switch i {
      case 1u: { result0 = out0_1; result1 = out1_1; result2 = out2_1; result3 = out3_1; result4 = out4_1; result5 = out5_1; result6 = out6_1; result7 = out7_1; }
      case 2u: { result0 = out0_2; result1 = out1_2; result2 = out2_2; result3 = out3_2; result4 = out4_2; result5 = out5_2; result6 = out6_2; result7 = out7_2; }
      case 3u: { result0 = out0_3; result1 = out1_3; result2 = out2_3; result3 = out3_3; result4 = out4_3; result5 = out5_3; result6 = out6_3; result7 = out7_3; }
      default: {}
    }
    if (first + 0u < 50u) {
      store_out(at0 + i, result0 / sum0);
    }
    if (first + 8u < 50u) {
      store_out(at1 + i, result1 / sum1);
    }
    if (first + 16u < 50u) {
      store_out(at2 + i, result2 / sum2);
    }
    if (first + 24u < 50u) {
      store_out(at3 + i, result3 / sum3);
    }
    if (first + 32u < 50u) {
      store_out(at4 + i, result4 / sum4);
    }
    if (first + 40u < 50u) {
      store_out(at5 + i, result5 / sum5);
    }
    if (first + 48u < 50u) {
      store_out(at6 + i, result6 / sum6);
    }
    if (first + 56u < 50u) {
      store_out(at7 + i, result7 / sum7);
    }
  }
}
