// Attention of one query: out = softmax(q . k[s] * scale) v[s], a workgroup for every head.
//
// detect, 2 dispatches:
//   /model/decoder/layers.0/encoder_attn/Mul, /model/decoder/layers.0/encoder_attn/Reshape,
//     /model/decoder/layers.0/encoder_attn/Transpose, /model/decoder/layers.0/encoder_attn/MatMul, +2
//   /model/decoder/layers.1/encoder_attn/Mul, /model/decoder/layers.1/encoder_attn/Reshape,
//     /model/decoder/layers.1/encoder_attn/Transpose, /model/decoder/layers.1/encoder_attn/MatMul, +2
// step, 2 dispatches:
//   /model/decoder/layers.0/encoder_attn/Mul, /model/decoder/layers.0/encoder_attn/Reshape,
//     /model/decoder/layers.0/encoder_attn/Transpose, /model/decoder/layers.0/encoder_attn/MatMul, +2
//   /model/decoder/layers.1/encoder_attn/Mul, /model/decoder/layers.1/encoder_attn/Reshape,
//     /model/decoder/layers.1/encoder_attn/Transpose, /model/decoder/layers.1/encoder_attn/MatMul, +2
// variant 'lanes64x8' for attention_decode_16 1x32x50x32
// reads q f32[1,1,32], k f32[1,2,50,16], v f32[1,2,50,16]
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
const KEY_STEP = 4u;  // vec4s from one key to the next
const HEAD_STEP = 200u;  // vec4s from one head of k and v to the next
const BLOCK = 50u;  // keys whose weights are in workgroup memory at a time
const LANES = 64u;
const SPLITS = 16u;  // the rows of v are shared out to so many groups of D4 lanes

var<workgroup> weights: array<f32, BLOCK>;  // scores, then exp(score - highest)
var<workgroup> lane_highest: array<f32, LANES>;
var<workgroup> lane_sum: array<f32, LANES>;
var<workgroup> lane_out: array<vec4f, LANES>;

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let head = workgroup.x;
  let lane = local.x;
  let head_at = head * HEAD_STEP;
  let keys = 50u;
  let first = 0u;
  // Unrolled, so that sums stay in registers: scoreH_C is the score of head H for the C-th of a lane's 8 keys.
  var highest0 = -3.4028234663852886e38;
  var sum0 = 0.0;
  var out0 = vec4f();
  // The softmax is taken online: what was summed so far is rescaled whenever a block of keys has a higher score.
  for (var start = first; start < keys; start += BLOCK) {
    let end = min(start + BLOCK, keys);
    let before0 = highest0;
    // Scores: lanes over keys.
    for (var s = start + lane; s < end; s += LANES * 8u) {
      let s0 = s;
      let key0 = min(s0, end - 1u) * KEY_STEP + head_at;
      var score0_0 = 0.0;
      let s1 = s + LANES;
      let key1 = min(s1, end - 1u) * KEY_STEP + head_at;
      var score0_1 = 0.0;
      let s2 = s + LANES * 2u;
      let key2 = min(s2, end - 1u) * KEY_STEP + head_at;
      var score0_2 = 0.0;
      let s3 = s + LANES * 3u;
      let key3 = min(s3, end - 1u) * KEY_STEP + head_at;
      var score0_3 = 0.0;
      let s4 = s + LANES * 4u;
      let key4 = min(s4, end - 1u) * KEY_STEP + head_at;
      var score0_4 = 0.0;
      let s5 = s + LANES * 5u;
      let key5 = min(s5, end - 1u) * KEY_STEP + head_at;
      var score0_5 = 0.0;
      let s6 = s + LANES * 6u;
      let key6 = min(s6, end - 1u) * KEY_STEP + head_at;
      var score0_6 = 0.0;
      let s7 = s + LANES * 7u;
      let key7 = min(s7, end - 1u) * KEY_STEP + head_at;
      var score0_7 = 0.0;
      for (var i = 0u; i < D4; i++) {
        let q0 = load_q(head * D4 + i) * 0.25f;
        let k0 = load_k(key0 + i);
        score0_0 += dot(q0, k0);
        let k1 = load_k(key1 + i);
        score0_1 += dot(q0, k1);
        let k2 = load_k(key2 + i);
        score0_2 += dot(q0, k2);
        let k3 = load_k(key3 + i);
        score0_3 += dot(q0, k3);
        let k4 = load_k(key4 + i);
        score0_4 += dot(q0, k4);
        let k5 = load_k(key5 + i);
        score0_5 += dot(q0, k5);
        let k6 = load_k(key6 + i);
        score0_6 += dot(q0, k6);
        let k7 = load_k(key7 + i);
        score0_7 += dot(q0, k7);
      }
      if (s0 < end) {
        weights[s0 - start] = score0_0;
        highest0 = max(highest0, score0_0);
      }
      if (s1 < end) {
        weights[s1 - start] = score0_1;
        highest0 = max(highest0, score0_1);
      }
      if (s2 < end) {
        weights[s2 - start] = score0_2;
        highest0 = max(highest0, score0_2);
      }
      if (s3 < end) {
        weights[s3 - start] = score0_3;
        highest0 = max(highest0, score0_3);
      }
      if (s4 < end) {
        weights[s4 - start] = score0_4;
        highest0 = max(highest0, score0_4);
      }
      if (s5 < end) {
        weights[s5 - start] = score0_5;
        highest0 = max(highest0, score0_5);
      }
      if (s6 < end) {
        weights[s6 - start] = score0_6;
        highest0 = max(highest0, score0_6);
      }
      if (s7 < end) {
        weights[s7 - start] = score0_7;
        highest0 = max(highest0, score0_7);
      }
    }
    lane_highest[lane] = highest0;
    workgroupBarrier();
    if (lane == 0u) {
      for (var i = 1u; i < LANES; i++) {
        lane_highest[lane * LANES] = max(lane_highest[lane * LANES], lane_highest[lane * LANES + i]);
      }
    }
    workgroupBarrier();
    highest0 = lane_highest[0u];
    for (var s = lane; s < end - start; s += LANES) {
      weights[s] = exp(weights[s] - highest0);
    }
    workgroupBarrier();

    // The weighted sum of v: lanes over the head, groups of lanes over keys.
    if (lane < D4 * SPLITS) {
      let keep0 = exp(before0 - highest0);
      sum0 *= keep0;
      out0 *= keep0;
      for (var s = lane / D4; s < end - start; s += SPLITS) {
        let v = load_v((start + s) * KEY_STEP + head_at + lane % D4);
        let weight0 = weights[s];
        sum0 += weight0;
        out0 += weight0 * v;
      }
    }
    workgroupBarrier();
  }
  lane_sum[lane] = sum0;
  lane_out[lane] = out0;
  workgroupBarrier();
  if (lane < D4) {
    for (var i = 1u; i < SPLITS; i++) {
      sum0 += lane_sum[lane + i * D4];
      out0 += lane_out[lane + i * D4];
    }
    store_out(head * D4 + lane, out0 / sum0);
  }
}
