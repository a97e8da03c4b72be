// The next token: the best one, or one drawn by its probability after top-k, top-p and min-p; -1 if a score is NaN.
//
// step, 1 dispatch:
//   sampling
// variant 'one' for sample_token 303
// reads scores f32[304], best u32[1,2], sampling f32[5]
// writes tokens i32[1,513,1]
// at most 1.25 kB moved, 0 FLOP a dispatch

struct Dims {
  drawn: u32,
  new_tokens: u32,
  past: u32,
  seed: u32,
}

@group(0) @binding(0) var scores: texture_storage_2d<rgba32float, read>;
@group(0) @binding(1) var<storage, read> best: array<u32>;
@group(0) @binding(2) var<storage, read> sampling: array<f32>;
@group(0) @binding(3) var<storage, read_write> tokens: array<i32>;
@group(0) @binding(4) var<uniform> dims: Dims;

fn load_scores(i: u32) -> vec4f {
  return textureLoad(scores, vec2u(i % 128u, i / 128u));
}

fn load_best(i: u32) -> u32 {
  return best[i];
}

fn load_sampling(i: u32) -> f32 {
  return sampling[i];
}

fn store_tokens(i: u32, value: i32) {
  tokens[i] = value;
}

const VOCABULARY = 303u;
const LANES = 256u;
const TEMPERATURE = 0u;  // of the numbers in `sampling`
const TOP_K = 1u;  // of the numbers in `sampling`
const TOP_P = 2u;  // of the numbers in `sampling`
const MIN_P = 3u;  // of the numbers in `sampling`
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

fn best_of_all() -> Best {
  var best = Best(LOWEST, VOCABULARY);
  for (var slice = 0u; slice < 1u; slice++) {
    best = better(best, Best(bitcast<f32>(load_best(slice * 2u)), load_best(slice * 2u + 1u)));
  }
  return best;
}

// A random function (PCG; Jarzynski and Olano 2020).
fn pcg(x: vec4u) -> vec4u {
  let state = x * 747796405u + 2891336453u;
  let word = ((state >> ((state >> vec4u(28u)) + 4u)) ^ state) * 277803737u;
  return (word >> vec4u(22u)) ^ word;
}

// Gumbel noise: the best of the scores plus noise is token i with the probability softmax(scores)[i].
fn gumbel(random: vec4u) -> vec4f {
  let u = min((vec4f(random) + 0.5) * 2.3283064e-10, vec4f(0.99999994));
  return -log(select(-log(1.0 - u), u + 0.5 * u * u, u < vec4f(0.001)));
}

// Scores plus the noise of their tokens in this draw.
fn noisy(x: vec4f, tokens: vec4u) -> vec4f {
  let draw = pcg(pcg(vec4u(dims.seed)) ^ vec4u(dims.past + 1u));
  return x + gumbel(pcg(pcg(tokens) ^ draw));
}

fn floor_of(highest: f32) -> f32 {
  let min_p = load_sampling(MIN_P);
  return select(LOWEST, highest + log(min_p), min_p > 0.0);
}

const GROUPS = 76u;  // vec4s of scores
const BITS = 4u;  // of a threshold that a pass over the scores finds

alias Weights = array<vec4f, 4>;  // 1 << BITS numbers

var<workgroup> other_half: array<Weights, LANES / 2u>;
var<workgroup> threshold: u32;

// Whole numbers in the order of the floats.
fn keys_of(x: vec4f) -> vec4u {
  let bits = bitcast<vec4u>(x);
  return select(bits | vec4u(0x80000000u), ~bits, x < vec4f());
}

fn float_of(key: u32) -> f32 {
  return bitcast<f32>(select(~key, key & 0x7fffffffu, key >= 0x80000000u));
}

// The largest score such that the tokens of that score or more weigh `wanted`; those below `floor` weigh nothing.
// Counted, a token weighs 1; else its probability, and `wanted` is a share of all. Where there are too few: `floor`.
fn lowest_kept(lane: u32, floor: f32, highest: f32, counted: bool, wanted: f32) -> f32 {
  var lowest = 0u;
  var target_weight = wanted;
  var shift = 32u;
  while (shift > 0u) {
    shift -= BITS;
    var weights = Weights();  // those of the keys from lowest + (digit << shift) on, for every digit
    for (var i = lane; i < GROUPS; i += LANES) {
      let x = load_scores(i);
      let keys = keys_of(x);
      let digits = (keys - vec4u(lowest)) >> vec4u(shift);
      let weight = select(exp(x - highest), vec4f(1.0), counted);
      let kept = select(vec4f(), weight, (x >= vec4f(floor)) & (keys >= vec4u(lowest)));
      weights[0] += select(vec4f(), vec4f(kept.x), vec4u(digits.x) >= vec4u(0u, 1u, 2u, 3u));
      weights[1] += select(vec4f(), vec4f(kept.x), vec4u(digits.x) >= vec4u(4u, 5u, 6u, 7u));
      weights[2] += select(vec4f(), vec4f(kept.x), vec4u(digits.x) >= vec4u(8u, 9u, 10u, 11u));
      weights[3] += select(vec4f(), vec4f(kept.x), vec4u(digits.x) >= vec4u(12u, 13u, 14u, 15u));
      weights[0] += select(vec4f(), vec4f(kept.y), vec4u(digits.y) >= vec4u(0u, 1u, 2u, 3u));
      weights[1] += select(vec4f(), vec4f(kept.y), vec4u(digits.y) >= vec4u(4u, 5u, 6u, 7u));
      weights[2] += select(vec4f(), vec4f(kept.y), vec4u(digits.y) >= vec4u(8u, 9u, 10u, 11u));
      weights[3] += select(vec4f(), vec4f(kept.y), vec4u(digits.y) >= vec4u(12u, 13u, 14u, 15u));
      weights[0] += select(vec4f(), vec4f(kept.z), vec4u(digits.z) >= vec4u(0u, 1u, 2u, 3u));
      weights[1] += select(vec4f(), vec4f(kept.z), vec4u(digits.z) >= vec4u(4u, 5u, 6u, 7u));
      weights[2] += select(vec4f(), vec4f(kept.z), vec4u(digits.z) >= vec4u(8u, 9u, 10u, 11u));
      weights[3] += select(vec4f(), vec4f(kept.z), vec4u(digits.z) >= vec4u(12u, 13u, 14u, 15u));
      weights[0] += select(vec4f(), vec4f(kept.w), vec4u(digits.w) >= vec4u(0u, 1u, 2u, 3u));
      weights[1] += select(vec4f(), vec4f(kept.w), vec4u(digits.w) >= vec4u(4u, 5u, 6u, 7u));
      weights[2] += select(vec4f(), vec4f(kept.w), vec4u(digits.w) >= vec4u(8u, 9u, 10u, 11u));
      weights[3] += select(vec4f(), vec4f(kept.w), vec4u(digits.w) >= vec4u(12u, 13u, 14u, 15u));
    }
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
      if (lane >= half && lane < 2u * half) {
        other_half[lane - half] = weights;
      }
      workgroupBarrier();
      if (lane < half) {
        weights[0] += other_half[lane][0];
        weights[1] += other_half[lane][1];
        weights[2] += other_half[lane][2];
        weights[3] += other_half[lane][3];
      }
      workgroupBarrier();
    }
    if (lane == 0u) {
      if (!counted && shift + BITS == 32u) {
        target_weight = wanted * weights[0].x;
      }
      var reached = vec4u();  // digits whose weight is enough: they are the first ones
      reached += vec4u(weights[0] >= vec4f(target_weight));
      reached += vec4u(weights[1] >= vec4f(target_weight));
      reached += vec4u(weights[2] >= vec4f(target_weight));
      reached += vec4u(weights[3] >= vec4f(target_weight));
      let digit = max(reached.x + reached.y + reached.z + reached.w, 1u) - 1u;
      threshold = lowest + (digit << shift);
    }
    workgroupBarrier();
    lowest = threshold;
  }
  return select(floor, float_of(lowest), lowest > 0u);
}

@compute @workgroup_size(256, 1, 1)
fn main(@builtin(local_invocation_id) local: vec3u) {
  let lane = local.x;
  let best = best_of_all();
  var token = best.token;

  if (load_sampling(TEMPERATURE) > 0.0 && best.token != NONE) {
    var floor = LOWEST;
    // Top-k, which counts tokens, then top-p, which adds their probabilities up.
    for (var limit = 0u; limit < 2u; limit++) {
      let counted = limit == 0u;
      let wanted = load_sampling(select(TOP_P, TOP_K, counted));
      if (wanted > 0.0 && wanted < select(1.0, f32(VOCABULARY), counted)) {
        floor = lowest_kept(lane, floor, best.value, counted, wanted);
      }
    }
    floor = max(floor, floor_of(best.value));

    var drawn = Best(LOWEST, best.token);
    for (var i = lane; i < GROUPS; i += LANES) {
      let x = load_scores(i);
      let kept = x >= vec4f(floor);
      if (any(kept)) {
        let tokens = i * 4u + vec4u(0u, 1u, 2u, 3u);
        let values = select(vec4f(LOWEST), noisy(x, tokens), kept);
        for (var c = 0u; c < 4u; c++) {
          drawn = better(drawn, Best(values[c], tokens[c]));
        }
      }
    }
    token = best_of_lanes(lane, drawn).token;
  }
  if (lane == 0u) {
    store_tokens(dims.past + 1u, select(i32(token), -1, token == NONE));
  }
}
