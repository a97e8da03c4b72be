// Elementwise: out = min(x0, 299).
//
// align, 1 dispatch:
//   /proj_out/MatMul
// reads x0 i32[1,32,1]
// writes out i32[1,32,1]
// at most 256 B moved, 32 FLOP a dispatch

struct Dims {
  begin: u32,
  new_tokens: u32,
  opening: u32,
  padding: u32,
  past: u32,
  seed: u32,
  timed: u32,
}

@group(0) @binding(0) var<storage, read> x0: array<i32>;
@group(0) @binding(1) var<storage, read_write> out: array<i32>;
@group(0) @binding(2) var<uniform> dims: Dims;

fn load_x0(i: u32) -> i32 {
  return x0[dims.past + 1u + i];
}

fn store_out(i: u32, value: i32) {
  out[i] = value;
}

fn element(i: u32) -> i32 {
  let t0 = min(load_x0(i), 299i);
  return t0;
}

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let i = id.x;
  if (i < 32u) {
    store_out(i, element(i));
  }
}
