// Elementwise: out = sqrt(x1^2 + x0^2).
//
// main, 1 dispatch:
//   /encoder/feature_extractor/Pow_1, /encoder/feature_extractor/Pow, /encoder/feature_extractor/Add,
//     /encoder/feature_extractor/Sqrt
// reads x0 f32[n_seq_len,129,4], x1 f32[n_seq_len,129,4]
// writes out f32[n_seq_len,129,4]
// at most 6.34 MB moved, 2.11 MFLOP a dispatch

struct Dims {
  n_seq_len: u32,
}

@group(0) @binding(0) var<storage, read> x0: array<f32>;
@group(0) @binding(1) var<storage, read> x1: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<vec4f>;
@group(0) @binding(3) var<uniform> dims: Dims;

fn load_x0(i: u32) -> f32 {
  return x0[i];
}

fn load_x1(i: u32) -> f32 {
  return x1[i];
}

fn store_out(i: u32, value: vec4f) {
  out[i] = value;
}

fn element(i: u32) -> f32 {
  let t0 = load_x0(i) * load_x0(i);
  let t1 = load_x1(i) * load_x1(i);
  let t2 = t1 + t0;
  let t3 = sqrt(t2);
  return t3;
}

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let i = id.x;
  if (i < (dims.n_seq_len * 516u) / 4u) {
    let j = 4u * i;
    store_out(i, vec4f(element(j), element(j + 1u), element(j + 2u), element(j + 3u)));
  }
}
