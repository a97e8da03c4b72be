// Concat: [1,1,200] into [1,1,16400], from 0 on along axis 2.
//
// mel, 1 dispatch:
//   mel/samples
// reads x0 f32[1,1,200]
// writes out f32[1,1,16400]
// at most 1.6 kB moved, 200 FLOP a dispatch

struct Dims {
  begin: u32,
  new_tokens: u32,
  opening: u32,
  padding: u32,
  past: u32,
  seed: u32,
  timed: u32,
}

@group(0) @binding(0) var<storage, read> x0: array<f32>;
@group(0) @binding(1) var out: texture_storage_2d<rgba32float, write>;
@group(0) @binding(2) var<uniform> dims: Dims;

fn load_x0(i: u32) -> f32 {
  return x0[dims.opening * 200u + i];
}

fn store_out(i: u32, value: vec4f) {
  textureStore(out, vec2u(i % 2048u, i / 2048u), value);
}

fn element(i: u32) -> f32 {
  let t0 = load_x0(i);
  return t0;
}

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let i = id.x;
  if (i < 50u) {
    let j = 4u * i;
    store_out(i, vec4f(element(j), element(j + 1u), element(j + 2u), element(j + 3u)));
  }
}
