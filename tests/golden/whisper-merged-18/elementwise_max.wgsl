// Elementwise: out = max(x0, x1).
//
// mel, 1 dispatch:
//   mel/loudest_now
// reads x0 f32[1,1,1], x1 f32[1,1,1]
// writes out f32[1,1,1]
// at most 12 B moved, 1 FLOP a dispatch

@group(0) @binding(0) var<storage, read> x0: array<f32>;
@group(0) @binding(1) var<storage, read> x1: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;

fn load_x0(i: u32) -> f32 {
  return x0[i];
}

fn load_x1(i: u32) -> f32 {
  return x1[i];
}

fn store_out(i: u32, value: f32) {
  out[i] = value;
}

fn element(i: u32) -> f32 {
  let t0 = max(load_x0(0u), load_x1(0u));
  return t0;
}

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let i = id.x;
  if (i == 0u) {
    store_out(i, element(i));
  }
}
