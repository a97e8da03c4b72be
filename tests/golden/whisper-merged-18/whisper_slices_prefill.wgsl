// Of each slice of the vocabulary: the best text and the best time that Whisper's rules allow, as in the reference
//   implementation's logit filters, and sums of probabilities, also of the tokens that they do not allow.
//
// prefill, 1 dispatch:
//   sampling
// reads logits f32[1,1,364], suppress u32[2,12], sampling f32[2], tokens i32[1,65,1]
// writes best u32[1,10]
// at most 1.6 kB moved, 0 FLOP a dispatch

struct Dims {
  begin: u32,
  new_tokens: u32,
  opening: u32,
  padding: u32,
  past: u32,
  seed: u32,
  timed: u32,
}

@group(0) @binding(0) var logits: texture_storage_2d<rgba32float, read>;
@group(0) @binding(1) var<storage, read> suppress: array<u32>;
@group(0) @binding(2) var<storage, read> sampling: array<f32>;
@group(0) @binding(3) var<storage, read> tokens: array<i32>;
@group(0) @binding(4) var<storage, read_write> best: array<u32>;
@group(0) @binding(5) var<uniform> dims: Dims;

fn load_logits(i: u32) -> vec4f {
  return textureLoad(logits, vec2u(i % 128u, i / 128u));
}

fn load_suppress(i: u32) -> u32 {
  return suppress[i];
}

fn load_sampling(i: u32) -> f32 {
  return sampling[i];
}

fn load_tokens(i: u32) -> i32 {
  return tokens[i];
}

fn store_best(i: u32, value: u32) {
  best[i] = value;
}

const VOCABULARY = 364u;
const SLICE = 2048u;  // tokens of a workgroup
const WORDS = 12u;  // of a set of tokens
const FIRST_TIMESTAMP = 313u;  // timestamps are the tokens from here on
const LANES = 256u;
const TEMPERATURE = 0u;  // of the numbers in `sampling`
const MAX_INITIAL_TIMESTAMP = 1u;  // of the numbers in `sampling`

const END = 300u;  // texts are the tokens before it
const LOWEST = -3.4028234663852886e38;
const NONE = 0xffffffffu;  // in place of the best token: a score is NaN

// The sum of exp(x) is total * exp(highest).
struct Sum {
  highest: f32,
  total: f32,
}

// score: that of the token, with noise where tokens are drawn.
struct Best {
  score: f32,
  token: u32,
  sum: Sum,
}

fn added(sum: Sum, x: f32) -> Sum {
  let smaller = exp(max(-abs(x - sum.highest), -100.0));
  let total = select(sum.total + smaller, sum.total * smaller + 1.0, x > sum.highest);
  return Sum(max(sum.highest, x), total);
}

fn joined(a: Sum, b: Sum) -> Sum {
  let highest = max(a.highest, b.highest);
  let total = a.total * exp(max(a.highest - highest, -100.0)) + b.total * exp(max(b.highest - highest, -100.0));
  return Sum(highest, total);
}

fn logarithm(sum: Sum) -> f32 {
  return sum.highest + log(sum.total);
}

fn better(a: Best, b: Best) -> Best {
  let wins = b.score > a.score || (b.score == a.score && b.token < a.token);
  let b_best = b.token == NONE || (a.token != NONE && wins);
  return Best(select(a.score, b.score, b_best), select(a.token, b.token, b_best), joined(a.sum, b.sum));
}

// The same with one more token, whose number is the largest so far.
fn with_token(best: Best, token: u32, x: f32, score: f32) -> Best {
  let wins = score > best.score;
  return Best(max(score, best.score), select(best.token, token, wins), added(best.sum, x));
}

fn nothing() -> Best {
  return Best(LOWEST, END, Sum(LOWEST, 0.0));
}

var<workgroup> latest: atomic<u32>;  // the last timestamp so far, plus one
var<workgroup> lane_text: array<Best, LANES>;
var<workgroup> lane_time: array<Best, LANES>;
var<workgroup> lane_rest: array<Sum, LANES>;

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

// By their bits, because compilers may assume that there are no NaNs.
fn any_nan(x: vec4f) -> bool {
  return any((bitcast<vec4u>(x) & vec4u(0x7fffffffu)) > vec4u(0x7f800000u));
}

fn is_timestamp(token: i32) -> bool {
  return token >= i32(FIRST_TIMESTAMP);
}

fn store_sum(at: u32, sum: Sum) {
  store_best(at, bitcast<u32>(sum.highest));
  store_best(at + 1u, bitcast<u32>(sum.total));
}

fn store_choice(at: u32, best: Best) {
  store_best(at, bitcast<u32>(best.score));
  store_best(at + 1u, best.token);
  store_sum(at + 2u, best.sum);
}

@compute @workgroup_size(256, 1, 1)
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let lane = local.x;
  let first = workgroup.x * SLICE;
  let at = dims.new_tokens + dims.past;
  let timed = dims.timed == 1u;
  let count = at - dims.begin;  // tokens sampled so far
  let temperature = load_sampling(TEMPERATURE);

  // What the timestamp rules allow: texts from text_from on, timestamps from time_from to before time_to.
  var text_from = 0u;
  var time_from = FIRST_TIMESTAMP;
  var time_to = VOCABULARY;
  if (timed) {
    if (lane == 0u) {
      atomicStore(&latest, 0u);
    }
    workgroupBarrier();
    for (var i = lane + 1u; i <= count; i += LANES) {  // timestamps ascend
      let token = load_tokens(at - i);
      if (is_timestamp(token)) {
        atomicMax(&latest, u32(token) + 1u);
      }
    }
    workgroupBarrier();
    let last_is_time = count >= 1u && is_timestamp(load_tokens(max(at, 1u) - 1u));
    let paired = count < 2u || is_timestamp(load_tokens(max(at, 2u) - 2u));
    if (last_is_time && paired) {
      time_to = FIRST_TIMESTAMP;  // two in a row: text must follow
    } else if (last_is_time) {
      text_from = END;  // one alone: its partner must follow, or the end
    }
    // Timestamps do not go back, and a segment is not empty.
    time_from = max(time_from, atomicLoad(&latest));
    if (last_is_time && !paired) {
      time_from -= 1u;
    }
    if (count == 0u) {
      text_from = FIRST_TIMESTAMP;
      time_to = min(time_to, FIRST_TIMESTAMP + 1u + u32(clamp(load_sampling(MAX_INITIAL_TIMESTAMP), 0.0, 1e6)));
    }
  }

  let draw = pcg(pcg(vec4u(dims.seed)) ^ vec4u(at));
  var text = nothing();
  var time = nothing();
  var rest = Sum(LOWEST, 0.0);  // of the tokens that are not allowed
  var has_nan = false;
  for (var i = first / 4u + lane; i < min(first + SLICE, VOCABULARY + 3u) / 4u; i += LANES) {
    let x = load_logits(i);
    let tokens = i * 4u + vec4u(0u, 1u, 2u, 3u);
    var scores = x;
    if (temperature > 0.0) {
      scores = x / temperature + gumbel(pcg(pcg(tokens) ^ draw));
    }
    var suppressed = load_suppress(i / 8u);
    if (count == 0u) {
      suppressed |= load_suppress(WORDS + i / 8u);
    }
    for (var c = 0u; c < 4u; c++) {
      let token = tokens[c];
      if (token >= VOCABULARY) {
        break;
      }
      has_nan = has_nan || any_nan(vec4f(x[c]));
      let is_time = token >= FIRST_TIMESTAMP;
      let never = ((suppressed >> (token % 32u)) & 1u) == 1u || (timed && token == 312u);
      if (never || select(token < text_from, token < time_from || token >= time_to, is_time)) {
        rest = added(rest, x[c]);
      } else if (is_time) {
        time = with_token(time, token, x[c], scores[c]);
      } else {
        text = with_token(text, token, x[c], scores[c]);
      }
    }
  }
  if (has_nan) {
    text.token = NONE;
  }

  lane_text[lane] = text;
  lane_time[lane] = time;
  lane_rest[lane] = rest;
  workgroupBarrier();
  for (var half = LANES / 2u; half > 0u; half /= 2u) {
    if (lane < half) {
      lane_text[lane] = better(lane_text[lane], lane_text[lane + half]);
      lane_time[lane] = better(lane_time[lane], lane_time[lane + half]);
      lane_rest[lane] = joined(lane_rest[lane], lane_rest[lane + half]);
    }
    workgroupBarrier();
  }
  if (lane == 0u) {
    let base = workgroup.x * 10u;
    store_choice(base, lane_text[0]);
    store_choice(base + 4u, lane_time[0]);
    store_sum(base + 8u, lane_rest[0]);
  }
}
