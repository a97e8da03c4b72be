// Rotary embedding: each pair of a head's columns is rotated by an angle that depends on the row's position.
//
// prefill, 2 dispatches:
//   /model/Range, /model/rotary_emb/Unsqueeze_1, /model/rotary_emb/Cast_1, /model/rotary_emb/MatMul, +28
//   /model/Range, /model/rotary_emb/Unsqueeze_1, /model/rotary_emb/Cast_1, /model/rotary_emb/MatMul, +28
// reads cos f32[512,4], sin f32[512,4], x0 f32[1,new_tokens,48], x1 f32[1,new_tokens,16]
// writes y0 f32[1,new_tokens,48], y1 f32[1,2,new_tokens+past,8]
// at most 147 kB moved, 49.2 kFLOP a dispatch

struct Dims {
  drawn: u32,
  new_tokens: u32,
  past: u32,
  seed: u32,
}

@group(0) @binding(0) var cos: texture_storage_2d<rgba32float, read>;
@group(0) @binding(1) var sin: texture_storage_2d<rgba32float, read>;
@group(0) @binding(2) var x0: texture_2d<f32>;
@group(0) @binding(3) var x1: texture_2d<f32>;
@group(0) @binding(4) var y0: texture_storage_2d<rgba32float, write>;
@group(0) @binding(5) var y1: texture_storage_2d<rgba32float, write>;
@group(0) @binding(6) var<uniform> dims: Dims;

fn load_cos(i: u32) -> vec4f {
  return textureLoad(cos, vec2u(i % 512u, i / 512u));
}

fn load_sin(i: u32) -> vec4f {
  return textureLoad(sin, vec2u(i % 512u, i / 512u));
}

fn load_x0(i: u32) -> vec4f {
  return textureLoad(x0, vec2u(i % 2048u, i / 2048u), 0);
}

fn load_x1(i: u32) -> vec4f {
  return textureLoad(x1, vec2u(i % 1024u, i / 1024u), 0);
}

fn store_y0(i: u32, value: vec4f) {
  textureStore(y0, vec2u(i % 2048u, i / 2048u), value);
}

fn store_y1(i: u32, value: vec4f) {
  textureStore(y1, vec2u(i % 2048u, i / 2048u), value);
}

const D4 = 2u;  // vec4s in a head
const ROTATED4 = 2u;  // vec4s that are rotated, at the beginning of a head
const TOTAL4 = 16u;

fn rotated_x0(at: u32, column: u32, position: u32) -> vec4f {
  let x = load_x0(at);
  if (column >= ROTATED4) {
    return x;
  }
  let half = ROTATED4 / 2u;
  let second = column >= half;  // of a pair: its partner lies half of what is rotated away
  let partner_column = select(column + half, column - half, second);
  let partner = load_x0(at - column + partner_column);
  let angle = position * half + column % half;
  return x * load_cos(angle) + select(-partner, partner, second) * load_sin(angle);
}

fn rotated_x1(at: u32, column: u32, position: u32) -> vec4f {
  let x = load_x1(at);
  if (column >= ROTATED4) {
    return x;
  }
  let half = ROTATED4 / 2u;
  let second = column >= half;  // of a pair: its partner lies half of what is rotated away
  let partner_column = select(column + half, column - half, second);
  let partner = load_x1(at - column + partner_column);
  let angle = position * half + column % half;
  return x * load_cos(angle) + select(-partner, partner, second) * load_sin(angle);
}

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let row = id.x / TOTAL4;
  let n = id.x % TOTAL4;
  if (row >= dims.new_tokens) {
    return;
  }
  if (n < 12u) {
    let column = n;
    let value = rotated_x0(row * 12u + column, column % D4, dims.past + row);
    store_y0(row * 12u + column, value);
  } else {
    let column = n - 12u;
    let value = rotated_x1(row * 4u + column, column % D4, dims.past + row);
    store_y1(column / 2u * 1024u + (dims.past + row) * 2u + column % 2u, value);
  }
}
