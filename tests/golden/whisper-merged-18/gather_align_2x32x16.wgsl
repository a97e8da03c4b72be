// Gather [1,2,32,16] from [1,2,32,16] along axis 1.
//
// align, 1 dispatch:
//   /model/decoder/layers.1/encoder_attn/Mul, /model/decoder/layers.1/encoder_attn/Reshape,
//     /model/decoder/layers.1/encoder_attn/Transpose, /model/decoder/layers.1/encoder_attn/MatMul, +2
// reads data f32[1,2,32,16], indices i64[2]
// writes out f32[1,2,32,16]
// at most 8.21 kB moved, 0 FLOP a dispatch

@group(0) @binding(0) var<storage, read> data: array<f32>;
@group(0) @binding(1) var<storage, read> indices: array<i32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;

fn load_data(i: u32) -> f32 {
  return data[i];
}

fn load_indices(i: u32) -> i32 {
  return indices[i];
}

fn store_out(i: u32, value: f32) {
  out[i] = value;
}

// Which of the entries of an axis an index means; a negative one counts from the end.
fn entry(wanted: i32, entries: u32) -> u32 {
  return min(u32(select(wanted, wanted + i32(entries), wanted < 0)), entries - 1u);
}

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let i = id.x;
  if (i >= 1024u) {
    return;
  }
  let at = i / 512u;
  store_out(i, load_data(i % 512u + entry(i32(load_indices(at)), 2u) * 512u));
}
