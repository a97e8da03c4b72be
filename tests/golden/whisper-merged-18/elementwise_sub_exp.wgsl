// Elementwise: out = exp(x0 - x1).
//
// align, 1 dispatch:
//   /proj_out/MatMul
// reads x0 f32[1,32,300], x1 f32[1,32,1]
// writes out f32[1,32,300]
// at most 76.9 kB moved, 19.2 kFLOP a dispatch

@group(0) @binding(0) var<storage, read> x0: array<f32>;
@group(0) @binding(1) var<storage, read> x1: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<vec4f>;

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
  let t0 = load_x0(i) - load_x1(i / 300u);
  let t1 = exp(t0);
  return t1;
}

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let i = id.x;
  if (i < 2400u) {
    let j = 4u * i;
    store_out(i, vec4f(element(j), element(j + 1u), element(j + 2u), element(j + 3u)));
  }
}
