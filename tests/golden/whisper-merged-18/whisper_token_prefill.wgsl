// The next token: the best of the slices; -1 if a score is NaN. Also its log-probability, and the probability of no
//   speech.
//
// prefill, 1 dispatch:
//   sampling
// reads best u32[1,10], logits f32[1,1,364]
// writes tokens i32[1,65,1], scores f32[65,2]
// at most 60 B moved, 0 FLOP a dispatch

struct Dims {
  begin: u32,
  new_tokens: u32,
  opening: u32,
  padding: u32,
  past: u32,
  seed: u32,
  timed: u32,
}

@group(0) @binding(0) var<storage, read> best: array<u32>;
@group(0) @binding(1) var logits: texture_storage_2d<rgba32float, read>;
@group(0) @binding(2) var<storage, read_write> tokens: array<i32>;
@group(0) @binding(3) var<storage, read_write> scores: array<f32>;
@group(0) @binding(4) var<uniform> dims: Dims;

fn load_best(i: u32) -> u32 {
  return best[i];
}

fn load_logits(i: u32) -> f32 {
  return textureLoad(logits, vec2u((i / 4u) % 128u, (i / 4u) / 128u))[i % 4u];
}

fn store_tokens(i: u32, value: i32) {
  tokens[i] = value;
}

fn store_scores(i: u32, value: f32) {
  scores[i] = value;
}

const SLICES = 1u;
const LANES = 32u;

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

var<workgroup> lane_text: array<Best, LANES>;
var<workgroup> lane_time: array<Best, LANES>;
var<workgroup> lane_rest: array<Sum, LANES>;

fn load_sum(at: u32) -> Sum {
  return Sum(bitcast<f32>(load_best(at)), bitcast<f32>(load_best(at + 1u)));
}

fn load_choice(at: u32) -> Best {
  return Best(bitcast<f32>(load_best(at)), load_best(at + 1u), load_sum(at + 2u));
}

@compute @workgroup_size(32, 1, 1)
fn main(@builtin(local_invocation_id) local: vec3u) {
  let lane = local.x;
  var text = nothing();
  var time = nothing();
  var rest = Sum(LOWEST, 0.0);
  for (var slice = lane; slice < SLICES; slice += LANES) {
    let base = slice * 10u;
    text = better(text, load_choice(base));
    time = better(time, load_choice(base + 4u));
    rest = joined(rest, load_sum(base + 8u));
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
    text = lane_text[0];
    time = lane_time[0];
    // All timestamps together, against the likeliest text: if they win, texts are no longer allowed.
    let time_wins = dims.timed == 1u && time.sum.total > 0.0 && logarithm(time.sum) > text.sum.highest;
    let has_nan = text.token == NONE;
    var chosen = better(text, time);
    if (time_wins) {
      chosen = time;
    }
    store_tokens(dims.new_tokens + dims.past, select(i32(chosen.token), -1, has_nan));
    store_scores((dims.new_tokens + dims.past) * 2u, load_logits(select(chosen.token, 0u, has_nan))
        - logarithm(chosen.sum));
    let all = joined(joined(text.sum, time.sum), lane_rest[0]);
    store_scores((dims.new_tokens + dims.past) * 2u + 1u, exp(load_logits(311u) - logarithm(all)));
  }
}
