// Attention of one query: out = softmax(q . k[s] * scale) v[s], a workgroup per head.
//
// step, 2 dispatches:
//   /model/decoder/layers.0/self_attn/Mul, /model/decoder/layers.0/self_attn/Reshape, /model/decoder/layers.0/self_attn/Transpose, /model/decoder/layers.0/self_attn/MatMul, +5
//   /model/decoder/layers.1/self_attn/Mul, /model/decoder/layers.1/self_attn/Reshape, /model/decoder/layers.1/self_attn/Transpose, /model/decoder/layers.1/self_attn/MatMul, +5
// design 'lanes64x2' for attention_decode_16 1x32xP+1x32
// reads q f32[1,1,32], k f32[1,P+1,32], v f32[1,P+1,32]
// writes out f32[1,1,32]
// at most 16.6 kB moved, 8.19 kFLOP a dispatch

struct Dims {
  P: u32,
  T: u32,
  begin: u32,
  timed: u32,
}

@group(0) @binding(0) var q: texture_storage_2d<rgba32float, read>;
@group(0) @binding(1) var k: texture_storage_2d<rgba32float, read>;
@group(0) @binding(2) var v: texture_storage_2d<rgba32float, read>;
@group(0) @binding(3) var out: texture_storage_2d<rgba32float, write>;
@group(0) @binding(4) var<uniform> dims: Dims;

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
const MAX_KEYS = 64u;
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
  let keys = min((dims.P + 1u), MAX_KEYS);
  let first = 0u;

  // Scores: lanes over keys.
  var highest = -3.4028234663852886e38;
  for (var s = first + lane; s < keys; s += LANES * 2u) {
    let s0 = s + LANES * 0u;
    let key0 = min(s0, keys - 1u) * KV_STRIDE + head_at;
    var score0 = 0.0;
    let s1 = s + LANES * 1u;
    let key1 = min(s1, keys - 1u) * KV_STRIDE + head_at;
    var score1 = 0.0;
    for (var i = 0u; i < D4; i++) {
      let a = load_q(head * D4 + i) * 0.25f;
      score0 += dot(a, load_k(key0 + i));
      score1 += dot(a, load_k(key1 + i));
    }
    if (s0 < keys) {
      weights[s0] = score0;
      highest = max(highest, score0);
    }
    if (s1 < keys) {
      weights[s1] = score1;
      highest = max(highest, score1);
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
