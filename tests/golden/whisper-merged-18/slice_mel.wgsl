// Slice [1,1,16400] to [1,1,200].
//
// mel, 1 dispatch:
//   mel/mirrored
// reads x0 f32[1,1,16400]
// writes out f32[1,1,200]
// at most 1.6 kB moved, 200 FLOP a dispatch

@group(0) @binding(0) var<storage, read> x0: array<f32>;
@group(0) @binding(1) var<storage, read_write> out: array<vec4f>;

fn load_x0(i: u32) -> f32 {
  return x0[i];
}

fn store_out(i: u32, value: vec4f) {
  out[i] = value;
}

fn element(i: u32) -> f32 {
  let t0 = load_x0(400u - i);
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
