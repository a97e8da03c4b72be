// Elementwise: out = x0.
//
// main, 1 dispatch:
//   /Reshape
// reads x0 f32[n_seq_len]
// writes out f32[n_seq_len]
// at most 8.19 kB moved, 1.02 kFLOP a dispatch

struct Dims {
  n_seq_len: u32,
}

@group(0) @binding(0) var<storage, read> x0: array<f32>;
@group(0) @binding(1) var<storage, read_write> out: array<f32>;
@group(0) @binding(2) var<uniform> dims: Dims;

fn load_x0(i: u32) -> f32 {
  return x0[i];
}

fn store_out(i: u32, value: f32) {
  out[i] = value;
}

fn element(i: u32) -> f32 {
  let t0 = load_x0(i);
  return t0;
}

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let i = id.x;
  if (i < dims.n_seq_len) {
    store_out(i, element(i));
  }
}
