// LayerNorm: y[row] = (x[row] - mean) / sqrt(variance + epsilon) * gamma + beta, 4 rows a workgroup of 8 lanes.
//
// align, 7 dispatches:
//   /model/decoder/layers.0/self_attn_layer_norm/LayerNormalization
//   /model/decoder/layers.0/encoder_attn_layer_norm/LayerNormalization
//   /model/decoder/layers.0/final_layer_norm/LayerNormalization
//   /model/decoder/layers.1/self_attn_layer_norm/LayerNormalization
//   and 3 more
// variant 'lanes8x4' for layernorm 32x32
// reads x f32[1,32,32], gamma f32[32], beta f32[32]
// writes y f32[1,32,32]
// at most 8.45 kB moved, 8.19 kFLOP a dispatch

@group(0) @binding(0) var x: texture_storage_2d<rgba32float, read>;
@group(0) @binding(1) var gamma: texture_storage_2d<rgba32float, read>;
@group(0) @binding(2) var beta: texture_storage_2d<rgba32float, read>;
@group(0) @binding(3) var y: texture_storage_2d<rgba32float, write>;

fn load_x(i: u32) -> vec4f {
  return textureLoad(x, vec2u(i % 256u, i / 256u));
}

fn load_gamma(i: u32) -> vec4f {
  return textureLoad(gamma, vec2u(i % 16u, i / 16u));
}

fn load_beta(i: u32) -> vec4f {
  return textureLoad(beta, vec2u(i % 16u, i / 16u));
}

fn store_y(i: u32, value: vec4f) {
  textureStore(y, vec2u(i % 256u, i / 256u), value);
}

const K4 = 8u;  // vec4s in a row
const LANES = 1u;
const LANES_Y = 8u;  // invocations that share a sum

var<workgroup> partial_sums: array<vec4f, LANES * LANES_Y>;

// The sum over the invocations of one local.x; each of them gets it.
fn workgroup_sum(sum: vec4f, local: vec3u) -> vec4f {
  partial_sums[local.y * LANES + local.x] = sum;
  workgroupBarrier();
  for (var half = LANES_Y / 2u; half > 0u; half /= 2u) {
    if (local.y < half) {
      partial_sums[local.y * LANES + local.x] += partial_sums[(local.y + half) * LANES + local.x];
    }
    workgroupBarrier();
  }
  let result = partial_sums[local.x];
  workgroupBarrier();
  return result;
}

@compute @workgroup_size(8, 1, 1)
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let row = workgroup.x * 4u;
  let at0 = min(row, 31u) * K4;
  var sum0 = vec4f();
  var squares0 = vec4f();
  let at1 = min(row + 1u, 31u) * K4;
  var sum1 = vec4f();
  var squares1 = vec4f();
  let at2 = min(row + 2u, 31u) * K4;
  var sum2 = vec4f();
  var squares2 = vec4f();
  let at3 = min(row + 3u, 31u) * K4;
  var sum3 = vec4f();
  var squares3 = vec4f();
  for (var k = local.x; k < K4; k += 8u) {
    sum0 += load_x(at0 + k);
    sum1 += load_x(at1 + k);
    sum2 += load_x(at2 + k);
    sum3 += load_x(at3 + k);
  }
  let own_sum = vec4f(
    dot(sum0, vec4f(1.0)),
    dot(sum1, vec4f(1.0)),
    dot(sum2, vec4f(1.0)),
    dot(sum3, vec4f(1.0)),
  );
  let sum = workgroup_sum(own_sum, local.yxz);
  let means = sum / 32.0;
  for (var k = local.x; k < K4; k += 8u) {
    let d0 = load_x(at0 + k) - means[0];
    squares0 += d0 * d0;
    let d1 = load_x(at1 + k) - means[1];
    squares1 += d1 * d1;
    let d2 = load_x(at2 + k) - means[2];
    squares2 += d2 * d2;
    let d3 = load_x(at3 + k) - means[3];
    squares3 += d3 * d3;
  }
  let own_squares = vec4f(
    dot(squares0, vec4f(1.0)),
    dot(squares1, vec4f(1.0)),
    dot(squares2, vec4f(1.0)),
    dot(squares3, vec4f(1.0)),
  );
  let squares = workgroup_sum(own_squares, local.yxz);
  let scales = inverseSqrt(squares / 32.0 + 1e-05f);
  for (var k = local.x; k < K4; k += 8u) {
    let g = load_gamma(k);
    let b = load_beta(k);
    if (row < 32u) {
      store_y(at0 + k, (load_x(at0 + k) - means[0]) * scales[0] * g + b);
    }
    if (row + 1u < 32u) {
      store_y(at1 + k, (load_x(at1 + k) - means[1]) * scales[1] * g + b);
    }
    if (row + 2u < 32u) {
      store_y(at2 + k, (load_x(at2 + k) - means[2]) * scales[2] * g + b);
    }
    if (row + 3u < 32u) {
      store_y(at3 + k, (load_x(at3 + k) - means[3]) * scales[3] * g + b);
    }
  }
}
