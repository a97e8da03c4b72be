// Transpose [1,80,100] to [1,100,80].
//
// encode, 1 dispatch:
//   /conv1/Conv
// reads x0 f32[1,80,100]
// writes out f32[1,100,80]
// at most 64 kB moved, 8 kFLOP a dispatch

@group(0) @binding(0) var<storage, read> x0: array<f32>;
@group(0) @binding(1) var out: texture_storage_2d<rgba32float, write>;

fn load_x0(i: u32) -> f32 {
  return x0[i];
}

fn store_out(i: u32, value: vec4f) {
  textureStore(out, vec2u(i % 2048u, i / 2048u), value);
}

fn element(i: u32) -> f32 {
  let t0 = load_x0(i / 80u + (i % 80u) * 100u);
  return t0;
}

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let i = id.x;
  if (i < 2000u) {
    let j = 4u * i;
    store_out(i, vec4f(element(j), element(j + 1u), element(j + 2u), element(j + 3u)));
  }
}
