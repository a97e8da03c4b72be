// Elementwise: out = (max(x0, x1) + 4) * 0.25 * x2.
//
// mel, 1 dispatch:
//   mel/ranged, mel/shifted, mel/scaled, mel/masked
// reads x0 f32[1,100,80], x1 f32[1,1,1], x2 f32[1,100,1]
// writes out f32[1,100,80]
// at most 64.4 kB moved, 32 kFLOP a dispatch

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
@group(0) @binding(1) var<storage, read> x1: array<f32>;
@group(0) @binding(2) var<storage, read> x2: array<f32>;
@group(0) @binding(3) var<storage, read_write> out: array<vec4f>;
@group(0) @binding(4) var<uniform> dims: Dims;

fn load_x0(i: u32) -> f32 {
  return x0[i];
}

fn load_x1(i: u32) -> f32 {
  return x1[i];
}

fn load_x2(i: u32) -> f32 {
  return x2[dims.padding + i];
}

fn store_out(i: u32, value: vec4f) {
  out[i] = value;
}

fn element(i: u32) -> f32 {
  let t0 = max(load_x0(i), load_x1(0u));
  let t1 = t0 + 4.0f;
  let t2 = t1 * 0.25f;
  let t3 = t2 * load_x2(i / 80u);
  return t3;
}

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let i = id.x;
  if (i < 2000u) {
    let j = 4u * i;
    store_out(i, vec4f(element(j), element(j + 1u), element(j + 2u), element(j + 3u)));
  }
}
