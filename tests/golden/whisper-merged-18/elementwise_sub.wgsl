// Elementwise: out = x0 - 8.
//
// mel, 1 dispatch:
//   mel/bottom
// reads x0 f32[1,1,1]
// writes out f32[1,1,1]
// at most 8 B moved, 1 FLOP a dispatch

@group(0) @binding(0) var<storage, read> x0: array<f32>;
@group(0) @binding(1) var<storage, read_write> out: array<f32>;

fn load_x0(i: u32) -> f32 {
  return x0[i];
}

fn store_out(i: u32, value: f32) {
  out[i] = value;
}

fn element(i: u32) -> f32 {
  let t0 = load_x0(0u) - 8.0f;
  return t0;
}

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let i = id.x;
  if (i == 0u) {
    store_out(i, element(i));
  }
}
