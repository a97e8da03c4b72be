// The best token of each slice of the vocabulary, or NONE if a score is NaN; where tokens are drawn, every token's
//   score too.
//
// prefill, 1 dispatch:
//   sampling
// reads logits f32[1,1,303], sampling f32[5], tokens i32[1,513,1]
// writes scores f32[304], best u32[1,2]
// at most 4.51 kB moved, 0 FLOP a dispatch

struct Dims {
  drawn: u32,
  new_tokens: u32,
  past: u32,
  seed: u32,
}

@group(0) @binding(0) var logits: texture_storage_2d<rgba32float, read>;
@group(0) @binding(1) var<storage, read> sampling: array<f32>;
@group(0) @binding(2) var<storage, read> tokens: array<i32>;
@group(0) @binding(3) var scores: texture_storage_2d<rgba32float, write>;
@group(0) @binding(4) var<storage, read_write> best: array<u32>;
@group(0) @binding(5) var<uniform> dims: Dims;

fn load_logits(i: u32) -> vec4f {
  return textureLoad(logits, vec2u(i % 128u, i / 128u));
}

fn load_sampling(i: u32) -> f32 {
  return sampling[i];
}

fn load_tokens(i: u32) -> i32 {
  return tokens[i];
}

fn store_scores(i: u32, value: vec4f) {
  textureStore(scores, vec2u(i % 128u, i / 128u), value);
}

fn store_best(i: u32, value: u32) {
  best[i] = value;
}

const VOCABULARY = 303u;
const LANES = 256u;
const TEMPERATURE = 0u;  // of the numbers in `sampling`
const REPETITION_PENALTY = 4u;  // of the numbers in `sampling`
const LOWEST = -3.4028234663852886e38;
const NONE = 0xffffffffu;  // in place of a token where a score is NaN

struct Best {
  value: f32,
  token: u32,
}

var<workgroup> lane_best: array<Best, LANES>;

// Of equals the first token, and NONE before all.
fn better(a: Best, b: Best) -> Best {
  let wins = (b.value > a.value) | ((b.value == a.value) & (b.token < a.token));
  let other = (b.token == NONE) | ((a.token != NONE) & wins);
  return Best(select(a.value, b.value, other), select(a.token, b.token, other));
}

fn best_of_lanes(lane: u32, own: Best) -> Best {
  var best = own;
  lane_best[lane] = best;
  workgroupBarrier();
  for (var half = LANES / 2u; half > 0u; half /= 2u) {
    if (lane < half) {
      best = better(best, lane_best[lane + half]);
      lane_best[lane] = best;
    }
    workgroupBarrier();
  }
  return best;
}

const SLICE = 8192u;  // tokens of a workgroup
const EACH = SLICE / (4u * LANES);  // vec4s of an invocation
const END = 76u;  // vec4s of scores

var<workgroup> seen: array<atomic<u32>, SLICE / 32u>;  // a bit for each token of the slice

// By their bits, because compilers may assume that there are no NaNs.
fn any_nan(x: vec4f) -> bool {
  return any((bitcast<vec4u>(x) & vec4u(0x7fffffffu)) > vec4u(0x7f800000u));
}

// What the text repeats becomes less likely (Keskar et al. 2019, section 4.1). i counts vec4s.
fn penalized(x: vec4f, i: u32, penalty: f32) -> vec4f {
  let bits = atomicLoad(&seen[i * 4u % SLICE / 32u]) >> (i * 4u % 32u);
  let repeated = (vec4u(bits) & vec4u(1u, 2u, 4u, 8u)) != vec4u();
  return select(x, select(x * penalty, x / penalty, x > vec4f()), repeated);
}

@compute @workgroup_size(256, 1, 1)
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let lane = local.x;
  let first = workgroup.x * SLICE;
  let temperature = load_sampling(TEMPERATURE);
  let penalty = load_sampling(REPETITION_PENALTY);

  if (penalty != 0.0 && penalty != 1.0) {
    for (var word = lane; word < SLICE / 32u; word += LANES) {
      atomicStore(&seen[word], 0u);
    }
    workgroupBarrier();
    for (var row = lane; row < dims.new_tokens + dims.past; row += LANES) {
      let token = u32(load_tokens(row)) - first;
      if (token < SLICE) {
        atomicOr(&seen[token / 32u], 1u << (token % 32u));
      }
    }
    workgroupBarrier();
  }

  // All at once: their way from memory is long.
  var x: array<vec4f, EACH>;
  for (var j = 0u; j < EACH; j++) {
    x[j] = load_logits(min(first / 4u + j * LANES + lane, END - 1u));
  }
  // Each lane keeps the best of every fourth token.
  var best = vec4f(LOWEST);
  var best_at = vec4u(first / 4u + lane);
  var has_nan = false;
  for (var j = 0u; j < EACH; j++) {
    let i = first / 4u + j * LANES + lane;
    var score = select(vec4f(LOWEST), x[j], i * 4u + vec4u(0u, 1u, 2u, 3u) < vec4u(VOCABULARY));
    has_nan = has_nan | any_nan(score);
    if (penalty != 0.0 && penalty != 1.0) {
      score = penalized(score, i, penalty);
    }
    if (temperature > 0.0) {
      score /= temperature;
      if (i < END) {
        store_scores(i, score);
      }
    }
    let wins = score > best;
    best = select(best, score, wins);
    best_at = select(best_at, vec4u(i), wins);
  }

  var own = Best(best.x, best_at.x * 4u);
  for (var c = 1u; c < 4u; c++) {
    own = better(own, Best(best[c], best_at[c] * 4u + c));
  }
  let chosen = best_of_lanes(lane, Best(own.value, select(own.token, NONE, has_nan)));
  if (lane == 0u) {
    store_best(workgroup.x * 2u, bitcast<u32>(chosen.value));
    store_best(workgroup.x * 2u + 1u, chosen.token);
  }
}
