// The next token: the likeliest that Whisper's rules allow, as in the reference implementation's logit filters; -1 if a
//   score is NaN.
//
// prefill, 1 dispatch:
//   sampling
// reads logits f32[1,1,364], suppress u32[12], suppress_first u32[12]
// writes tokens i32[1,65,1]
// at most 1.56 kB moved, 0 FLOP a dispatch

struct Dims {
  begin: u32,
  new_tokens: u32,
  opening: u32,
  padding: u32,
  past: u32,
  timed: u32,
}

@group(0) @binding(0) var<storage, read> logits: array<f32>;
@group(0) @binding(1) var<storage, read> suppress: array<u32>;
@group(0) @binding(2) var<storage, read> suppress_first: array<u32>;
@group(0) @binding(3) var<storage, read_write> tokens: array<i32>;
@group(0) @binding(4) var<uniform> dims: Dims;

fn load_logits(i: u32) -> f32 {
  return logits[i];
}

fn load_suppress(i: u32) -> u32 {
  return suppress[i];
}

fn load_suppress_first(i: u32) -> u32 {
  return suppress_first[i];
}

fn load_tokens(i: u32) -> i32 {
  return tokens[i];
}

fn store_tokens(i: u32, value: i32) {
  tokens[i] = value;
}

const VOCABULARY = 364u;
const END = 300u;  // texts are the tokens before it
const FIRST_TIMESTAMP = 313u;  // timestamps are the tokens from here on
const LANES = 256u;
const LOWEST = -3.4028234663852886e38;
const NONE = 0xffffffffu;  // in place of a token

struct Best {
  value: f32,
  token: u32,
}

var<workgroup> lane_text: array<Best, LANES>;
var<workgroup> lane_time: array<Best, LANES>;
var<workgroup> lane_sum: array<f32, LANES>;

fn better(a: Best, b: Best) -> Best {
  let wins = b.value > a.value || (b.value == a.value && b.token < a.token);
  if (b.token == NONE || (a.token != NONE && wins)) {
    return b;
  }
  return a;
}

fn listed(word: u32, token: u32) -> bool {
  return ((word >> (token % 32u)) & 1u) == 1u;
}

fn is_timestamp(token: i32) -> bool {
  return token >= i32(FIRST_TIMESTAMP);
}

// By their bits, because compilers may assume that there are neither NaNs nor infinities.
fn is_nan(x: f32) -> u32 {
  return select(0u, 1u, (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u);
}

@compute @workgroup_size(256, 1, 1)
fn main(@builtin(local_invocation_id) local: vec3u) {
  let lane = local.x;
  let at = dims.new_tokens + dims.past;
  let timed = dims.timed == 1u;
  let count = at - dims.begin;  // tokens sampled so far

  // What the timestamp rules allow: texts from text_from on, timestamps from time_from to before time_to.
  var text_from = 0u;
  var time_from = FIRST_TIMESTAMP;
  var time_to = VOCABULARY;
  if (timed) {
    let last_is_time = count >= 1u && is_timestamp(load_tokens(max(at, 1u) - 1u));
    let paired = count < 2u || is_timestamp(load_tokens(max(at, 2u) - 2u));
    if (last_is_time && paired) {
      time_to = FIRST_TIMESTAMP;  // two in a row: text must follow
    } else if (last_is_time) {
      text_from = END;  // one alone: its partner must follow, or the end
    }
    // Timestamps do not go back, and a segment is not empty.
    for (var i = 1u; i <= count; i++) {
      let token = load_tokens(at - i);
      if (is_timestamp(token)) {
        time_from = u32(token) + select(1u, 0u, last_is_time && !paired);
        break;
      }
    }
    if (count == 0u) {
      text_from = FIRST_TIMESTAMP;
      time_to = min(time_to, FIRST_TIMESTAMP + 51u);
    }
  }

  var text = Best(LOWEST, END);
  var time = Best(LOWEST, END);
  for (var token = lane; token < VOCABULARY; token += LANES) {
    let word = token / 32u;
    let never = listed(load_suppress(word), token) || (count == 0u && listed(load_suppress_first(word), token));
    let candidate = Best(load_logits(token), token);
    if (is_nan(candidate.value) == 1u) {
      text = Best(LOWEST, NONE);
    } else if (!never && token >= FIRST_TIMESTAMP) {
      if (token >= time_from && token < time_to) {
        time = better(time, candidate);
      }
    } else if (!never && token >= text_from && !(timed && token == 312u)) {
      text = better(text, candidate);
    }
  }
  lane_text[lane] = text;
  lane_time[lane] = time;
  workgroupBarrier();
  for (var half = LANES / 2u; half > 0u; half /= 2u) {
    if (lane < half) {
      lane_text[lane] = better(lane_text[lane], lane_text[lane + half]);
      lane_time[lane] = better(lane_time[lane], lane_time[lane + half]);
    }
    workgroupBarrier();
  }
  text = lane_text[0];
  time = lane_time[0];

  // All timestamps together, against the likeliest text.
  var sum = 0.0;
  for (var token = time_from + lane; token < time_to; token += LANES) {
    sum += exp(load_logits(token) - time.value);
  }
  lane_sum[lane] = sum;
  workgroupBarrier();
  if (lane == 0u) {
    for (var i = 1u; i < LANES; i++) {
      sum += lane_sum[i];
    }
    let time_wins = time.value > LOWEST && time.value + log(sum) > text.value;
    let prefer_time = select(time.value > text.value, time_wins, timed);
    store_tokens(at, i32(select(text.token, time.token, prefer_time && text.token != NONE)));
  }
}
