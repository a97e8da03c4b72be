// Attention of one query: out = softmax(q . k[s] * scale) v[s], a workgroup per head.
//
// step, 2 dispatches:
//   /model/decoder/layers.0/encoder_attn/Mul, /model/decoder/layers.0/encoder_attn/Reshape, /model/decoder/layers.0/encoder_attn/Transpose, /model/decoder/layers.0/encoder_attn/MatMul, +2
//   /model/decoder/layers.1/encoder_attn/Mul, /model/decoder/layers.1/encoder_attn/Reshape, /model/decoder/layers.1/encoder_attn/Transpose, /model/decoder/layers.1/encoder_attn/MatMul, +2
// design 'lanes64x8' for attention_decode_16 1x32x50x32
// reads q f32[1,1,32], k f32[1,50,32], v f32[1,50,32]
// writes out f32[1,1,32]
// at most 13.1 kB moved, 6.4 kFLOP a dispatch

@group(0) @binding(0) var q: texture_storage_2d<rgba32float, read>;
@group(0) @binding(1) var k: texture_storage_2d<rgba32float, read>;
@group(0) @binding(2) var v: texture_storage_2d<rgba32float, read>;
@group(0) @binding(3) var out: texture_storage_2d<rgba32float, write>;

fn load_q(i: u32) -> vec4f {
  return textureLoad(q, vec2u(i % 16u, i / 16u));
}

fn load_k(i: u32) -> vec4f {
  return textureLoad(k, vec2u(i % 512u, i / 512u));
}

fn load_v(i: u32) -> vec4f {
  return textureLoad(v, vec2u(i % 512u, i / 512u));
}

fn store_out(i: u32, value: vec4f) {
  textureStore(out, vec2u(i % 16u, i / 16u), value);
}

const D4 = 4u;  // vec4s in a head
const KV_STRIDE = 8u;  // vec4s in a row of k and v
const MAX_KEYS = 50u;
const LANES = 64u;
const SPLITS = 16u;  // the rows of v are shared out to so many groups of D4 lanes

var<workgroup> weights: array<f32, MAX_KEYS>;  // scores, then exp(score - highest)
var<workgroup> lane_highest: array<f32, LANES>;
var<workgroup> lane_sum: array<f32, LANES>;
var<workgroup> lane_out: array<vec4f, LANES>;

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let head = workgroup.x;
  let lane = local.x;
  let head_at = head * D4;
  let keys = min(50u, MAX_KEYS);
  let first = 0u;

  // Scores: lanes over keys.
  var highest = -3.4028234663852886e38;
  for (var s = first + lane; s < keys; s += LANES * 8u) {
    let s0 = s + LANES * 0u;
    let key0 = min(s0, keys - 1u) * KV_STRIDE + head_at;
    var score0 = 0.0;
    let s1 = s + LANES * 1u;
    let key1 = min(s1, keys - 1u) * KV_STRIDE + head_at;
    var score1 = 0.0;
    let s2 = s + LANES * 2u;
    let key2 = min(s2, keys - 1u) * KV_STRIDE + head_at;
    var score2 = 0.0;
    let s3 = s + LANES * 3u;
    let key3 = min(s3, keys - 1u) * KV_STRIDE + head_at;
    var score3 = 0.0;
    let s4 = s + LANES * 4u;
    let key4 = min(s4, keys - 1u) * KV_STRIDE + head_at;
    var score4 = 0.0;
    let s5 = s + LANES * 5u;
    let key5 = min(s5, keys - 1u) * KV_STRIDE + head_at;
    var score5 = 0.0;
    let s6 = s + LANES * 6u;
    let key6 = min(s6, keys - 1u) * KV_STRIDE + head_at;
    var score6 = 0.0;
    let s7 = s + LANES * 7u;
    let key7 = min(s7, keys - 1u) * KV_STRIDE + head_at;
    var score7 = 0.0;
    for (var i = 0u; i < D4; i++) {
      let a = load_q(head * D4 + i) * 0.25f;
      score0 += dot(a, load_k(key0 + i));
      score1 += dot(a, load_k(key1 + i));
      score2 += dot(a, load_k(key2 + i));
      score3 += dot(a, load_k(key3 + i));
      score4 += dot(a, load_k(key4 + i));
      score5 += dot(a, load_k(key5 + i));
      score6 += dot(a, load_k(key6 + i));
      score7 += dot(a, load_k(key7 + i));
    }
    if (s0 < keys) {
      weights[s0] = score0;
      highest = max(highest, score0);
    }
    if (s1 < keys) {
      weights[s1] = score1;
      highest = max(highest, score1);
    }
    if (s2 < keys) {
      weights[s2] = score2;
      highest = max(highest, score2);
    }
    if (s3 < keys) {
      weights[s3] = score3;
      highest = max(highest, score3);
    }
    if (s4 < keys) {
      weights[s4] = score4;
      highest = max(highest, score4);
    }
    if (s5 < keys) {
      weights[s5] = score5;
      highest = max(highest, score5);
    }
    if (s6 < keys) {
      weights[s6] = score6;
      highest = max(highest, score6);
    }
    if (s7 < keys) {
      weights[s7] = score7;
      highest = max(highest, score7);
    }
  }
  lane_highest[lane] = highest;
  workgroupBarrier();
  if (lane == 0u) {
    for (var i = 1u; i < LANES; i++) {
      highest = max(highest, lane_highest[i]);
    }
    lane_highest[0] = highest;
  }
  workgroupBarrier();
  highest = lane_highest[0];
  for (var s = first + lane; s < keys; s += LANES) {
    weights[s] = exp(weights[s] - highest);
  }
  workgroupBarrier();

  // The weighted sum of v: lanes over the head, groups of lanes over keys.
  var sum = 0.0;
  var result = vec4f();
  if (lane < D4 * SPLITS) {
    for (var s = first + lane / D4; s < keys; s += SPLITS) {
      sum += weights[s];
      result += weights[s] * load_v(s * KV_STRIDE + head_at + lane % D4);
    }
  }
  lane_sum[lane] = sum;
  lane_out[lane] = result;
  workgroupBarrier();
  if (lane < D4) {
    for (var i = 1u; i < SPLITS; i++) {
      sum += lane_sum[lane + i * D4];
      result += lane_out[lane + i * D4];
    }
    store_out(head * D4 + lane, result / sum);
  }
}
