// Transpose [1,2,50,16] to [1,2,16,50].
//
// align, 1 dispatch:
//   /model/decoder/layers.1/encoder_attn/Mul, /model/decoder/layers.1/encoder_attn/Reshape,
//     /model/decoder/layers.1/encoder_attn/Transpose, /model/decoder/layers.1/encoder_attn/MatMul, +2
// reads x0 f32[1,2,50,16]
// writes out f32[1,2,16,50]
// at most 12.8 kB moved, 1.6 kFLOP a dispatch

@group(0) @binding(0) var<storage, read> x0: array<f32>;
@group(0) @binding(1) var<storage, read_write> out: array<vec4f>;

fn load_x0(i: u32) -> f32 {
  return x0[i];
}

fn store_out(i: u32, value: vec4f) {
  out[i] = value;
}

fn element(i: u32) -> f32 {
  let t0 = load_x0((i / 800u) * 800u + i / 50u % 16u + (i % 50u) * 16u);
  return t0;
}

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let i = id.x;
  if (i < 400u) {
    let j = 4u * i;
    store_out(i, vec4f(element(j), element(j + 1u), element(j + 2u), element(j + 3u)));
  }
}
