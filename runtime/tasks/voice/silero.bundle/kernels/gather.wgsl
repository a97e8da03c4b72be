// Gather [n_seq_len,832] from [n_seq_len,576] along axis 1.
//
// main, 1 dispatch:
//   /encoder/feature_extractor/padding/Pad
// reads data f32[n_seq_len,576], indices i64[832]
// writes out f32[n_seq_len,832]
// at most 6.82 MB moved, 0 FLOP a dispatch

struct Dims {
  n_seq_len: u32,
}

@group(0) @binding(0) var<storage, read> data: array<f32>;
@group(0) @binding(1) var<storage, read> indices: array<i32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;
@group(0) @binding(3) var<uniform> dims: Dims;

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
  if (i >= dims.n_seq_len * 832u) {
    return;
  }
  let at = i % 832u;
  store_out(i, load_data((i / 832u) * 576u + entry(i32(load_indices(at)), 576u)));
}
