// Slice [n_seq_len,258,5] to [n_seq_len,129,4].
//
// main, 1 dispatch:
//   Slice_4
// reads x0 f32[n_seq_len,258,5]
// writes out f32[n_seq_len,129,4]
// at most 4.23 MB moved, 528 kFLOP a dispatch

struct Dims {
  n_seq_len: u32,
}

@group(0) @binding(0) var<storage, read> x0: array<f32>;
@group(0) @binding(1) var<storage, read_write> out: array<vec4f>;
@group(0) @binding(2) var<uniform> dims: Dims;

fn load_x0(i: u32) -> f32 {
  return x0[i];
}

fn store_out(i: u32, value: vec4f) {
  out[i] = value;
}

fn element(i: u32) -> f32 {
  let t0 = load_x0(646u + (i / 516u) * 1290u + (i / 4u % 129u) * 5u + i % 4u);
  return t0;
}

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let i = id.x;
  if (i < (dims.n_seq_len * 516u) / 4u) {
    let j = 4u * i;
    store_out(i, vec4f(element(j), element(j + 1u), element(j + 2u), element(j + 3u)));
  }
}
