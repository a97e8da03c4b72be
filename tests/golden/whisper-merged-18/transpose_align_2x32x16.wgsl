// Transpose [1,32,2,16] to [1,2,32,16].
//
// align, 1 dispatch:
//   /model/decoder/layers.1/encoder_attn/Mul, /model/decoder/layers.1/encoder_attn/Reshape,
//     /model/decoder/layers.1/encoder_attn/Transpose, /model/decoder/layers.1/encoder_attn/MatMul, +2
// reads x0 f32[1,32,2,16]
// writes out f32[1,2,32,16]
// at most 8.19 kB moved, 1.02 kFLOP a dispatch

@group(0) @binding(0) var x0: texture_storage_2d<rgba32float, read>;
@group(0) @binding(1) var<storage, read_write> out: array<vec4f>;

fn load_x0(i: u32) -> f32 {
  return textureLoad(x0, vec2u((i / 4u) % 256u, (i / 4u) / 256u))[i % 4u];
}

fn store_out(i: u32, value: vec4f) {
  out[i] = value;
}

fn element(i: u32) -> f32 {
  let t0 = load_x0((i / 512u) * 16u + (i / 16u % 32u) * 32u + i % 16u);
  return t0;
}

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let i = id.x;
  if (i < 256u) {
    let j = 4u * i;
    store_out(i, vec4f(element(j), element(j + 1u), element(j + 2u), element(j + 3u)));
  }
}
