// Elementwise: out = relu(x0).
//
// main, 1 dispatch:
//   /decoder/relu/Relu
// reads x0 f32[n_seq_len,1,128]
// writes out f32[n_seq_len,1,128]
// at most 1.05 MB moved, 131 kFLOP a dispatch

struct Dims {
  n_seq_len: u32,
}

@group(0) @binding(0) var<storage, read> x0: array<f32>;
@group(0) @binding(1) var out: texture_storage_2d<rgba32float, write>;
@group(0) @binding(2) var<uniform> dims: Dims;

fn load_x0(i: u32) -> f32 {
  return x0[i];
}

fn store_out(i: u32, value: vec4f) {
  textureStore(out, vec2u(i % 2048u, i / 2048u), value);
}

fn element(i: u32) -> f32 {
  let t0 = max(load_x0(i), 0.0f);
  return t0;
}

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let i = id.x;
  if (i < (dims.n_seq_len * 128u) / 4u) {
    let j = 4u * i;
    store_out(i, vec4f(element(j), element(j + 1u), element(j + 2u), element(j + 3u)));
  }
}
