// Embedding: out[t] = table[ids[t]], where a negative id counts from the end of the table.
//
// step, 1 dispatch:
//   /model/embed_tokens/Gather
// variant 'textures' for embedding 1x303x48
// reads table f32[303,48], ids i32[1,1]
// writes out f32[1,1,48]
// at most 388 B moved, 0 FLOP a dispatch

struct Dims {
  drawn: u32,
  new_tokens: u32,
  past: u32,
  seed: u32,
}

@group(0) @binding(0) var table: texture_storage_2d<rgba32float, read>;
@group(0) @binding(1) var<storage, read> ids: array<i32>;
@group(0) @binding(2) var out: texture_storage_2d<rgba32float, write>;
@group(0) @binding(3) var<uniform> dims: Dims;

fn load_table(i: u32) -> vec4f {
  return textureLoad(table, vec2u(i % 2048u, i / 2048u));
}

fn load_ids(i: u32) -> i32 {
  return ids[dims.past + i];
}

fn store_out(i: u32, value: vec4f) {
  textureStore(out, vec2u(i % 16u, i / 16u), value);
}

const K4 = 12u;  // vec4s in a row of the table, which is laid out like the weights of products

fn table_part(row: u32, k: u32) -> vec4f {
  return load_table((row / 8u * K4 + k) * 8u + row % 8u);
}

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let i = id.x;
  if (i >= 12u) {
    return;
  }
  let n = i % K4;
  let wanted = i32(load_ids(i / K4));
  let row = min(u32(select(wanted, wanted + 303, wanted < 0)), 302u);
  let acc = table_part(row, n);
  store_out(i, acc);
}
