// Embedding: out[t] = table[ids[t]], where a negative id counts from the end of the table.
// Fused: out = acc + x3.
//
// align, 1 dispatch:
//   /model/decoder/embed_tokens/Gather, /model/decoder/Add
// variant 'textures' for embedding 32x364x32
// reads table f32[364,32], ids i32[1,32], x3 f32[1,32,32]
// writes out f32[1,32,32]
// at most 12.4 kB moved, 0 FLOP a dispatch

struct Dims {
  begin: u32,
  new_tokens: u32,
  opening: u32,
  padding: u32,
  past: u32,
  seed: u32,
  timed: u32,
}

@group(0) @binding(0) var table: texture_storage_2d<rgba32float, read>;
@group(0) @binding(1) var<storage, read> ids: array<i32>;
@group(0) @binding(2) var x3: texture_storage_2d<rgba32float, read>;
@group(0) @binding(3) var out: texture_storage_2d<rgba32float, write>;
@group(0) @binding(4) var<uniform> dims: Dims;

fn load_table(i: u32) -> vec4f {
  return textureLoad(table, vec2u(i % 2048u, i / 2048u));
}

fn load_ids(i: u32) -> i32 {
  return ids[dims.past + i];
}

fn load_x3(i: u32) -> vec4f {
  return textureLoad(x3, vec2u((dims.past * 8u + i) % 512u, (dims.past * 8u + i) / 512u));
}

fn store_out(i: u32, value: vec4f) {
  textureStore(out, vec2u(i % 256u, i / 256u), value);
}

const K4 = 8u;  // vec4s in a row of the table, which is laid out like the weights of products

fn table_part(row: u32, k: u32) -> vec4f {
  return load_table((row / 8u * K4 + k) * 8u + row % 8u);
}

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let i = id.x;
  if (i >= 256u) {
    return;
  }
  let n = i % K4;
  let wanted = i32(load_ids(i / K4));
  let row = min(u32(select(wanted, wanted + 364, wanted < 0)), 363u);
  let acc = table_part(row, n);
  let t0 = acc + load_x3(i);
  store_out(i, t0);
}
