// LayerNorm: y[row] = (x[row] - mean) / sqrt(variance + epsilon) * gamma + beta, 4 rows a workgroup of 8 lanes.
//
// prefill, 6 dispatches:
//   /model/decoder/layers.0/self_attn_layer_norm/LayerNormalization
//   /model/decoder/layers.0/encoder_attn_layer_norm/LayerNormalization
//   /model/decoder/layers.0/final_layer_norm/LayerNormalization
//   /model/decoder/layers.1/self_attn_layer_norm/LayerNormalization
//   and 2 more
// reads x f32[1,T,32], gamma f32[32], beta f32[32]
// writes y f32[1,T,32]
// at most 16.6 kB moved, 16.4 kFLOP a dispatch

struct Dims {
  P: u32,
  T: u32,
  begin: u32,
  timed: u32,
}

@group(0) @binding(0) var x: texture_storage_2d<rgba32float, read>;
@group(0) @binding(1) var gamma: texture_storage_2d<rgba32float, read>;
@group(0) @binding(2) var beta: texture_storage_2d<rgba32float, read>;
@group(0) @binding(3) var y: texture_storage_2d<rgba32float, write>;
@group(0) @binding(4) var<uniform> dims: Dims;

fn load_x(i: u32) -> vec4f {
  return textureLoad(x, vec2u(i % 512u, i / 512u));
}

fn load_gamma(i: u32) -> vec4f {
  return textureLoad(gamma, vec2u(i % 16u, i / 16u));
}

fn load_beta(i: u32) -> vec4f {
  return textureLoad(beta, vec2u(i % 16u, i / 16u));
}

fn store_y(i: u32, value: vec4f) {
  textureStore(y, vec2u(i % 512u, i / 512u), value);
}

const K4 = 8u;  // vec4s in a row
const LANES = 8u;

// What each lane found in each row.
var<workgroup> lane_sums: array<f32, 32>;
var<workgroup> lane_squares: array<f32, 32>;

@compute @workgroup_size(8, 1, 1)
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let lane = local.x;
  let row = workgroup.x * 4u;
  let at0 = min(row + 0u, dims.T - 1u) * K4;
  var sum0 = vec4f();
  var squares0 = vec4f();
  let at1 = min(row + 1u, dims.T - 1u) * K4;
  var sum1 = vec4f();
  var squares1 = vec4f();
  let at2 = min(row + 2u, dims.T - 1u) * K4;
  var sum2 = vec4f();
  var squares2 = vec4f();
  let at3 = min(row + 3u, dims.T - 1u) * K4;
  var sum3 = vec4f();
  var squares3 = vec4f();
  for (var k = lane; k < K4; k += LANES) {
    sum0 += load_x(at0 + k);
    sum1 += load_x(at1 + k);
    sum2 += load_x(at2 + k);
    sum3 += load_x(at3 + k);
  }
  lane_sums[0u + lane] = dot(sum0, vec4f(1.0));
  lane_sums[8u + lane] = dot(sum1, vec4f(1.0));
  lane_sums[16u + lane] = dot(sum2, vec4f(1.0));
  lane_sums[24u + lane] = dot(sum3, vec4f(1.0));
  workgroupBarrier();
  let mean0 = (lane_sums[0] + lane_sums[1] + lane_sums[2] + lane_sums[3]
    + lane_sums[4] + lane_sums[5] + lane_sums[6] + lane_sums[7]) / 32.0;
  let mean1 = (lane_sums[8] + lane_sums[9] + lane_sums[10] + lane_sums[11]
    + lane_sums[12] + lane_sums[13] + lane_sums[14] + lane_sums[15]) / 32.0;
  let mean2 = (lane_sums[16] + lane_sums[17] + lane_sums[18] + lane_sums[19]
    + lane_sums[20] + lane_sums[21] + lane_sums[22] + lane_sums[23]) / 32.0;
  let mean3 = (lane_sums[24] + lane_sums[25] + lane_sums[26] + lane_sums[27]
    + lane_sums[28] + lane_sums[29] + lane_sums[30] + lane_sums[31]) / 32.0;
  for (var k = lane; k < K4; k += LANES) {
    let d0 = load_x(at0 + k) - mean0;
    squares0 += d0 * d0;
    let d1 = load_x(at1 + k) - mean1;
    squares1 += d1 * d1;
    let d2 = load_x(at2 + k) - mean2;
    squares2 += d2 * d2;
    let d3 = load_x(at3 + k) - mean3;
    squares3 += d3 * d3;
  }
  lane_squares[0u + lane] = dot(squares0, vec4f(1.0));
  lane_squares[8u + lane] = dot(squares1, vec4f(1.0));
  lane_squares[16u + lane] = dot(squares2, vec4f(1.0));
  lane_squares[24u + lane] = dot(squares3, vec4f(1.0));
  workgroupBarrier();
  let scale0 = inverseSqrt((lane_squares[0] + lane_squares[1] + lane_squares[2] + lane_squares[3]
    + lane_squares[4] + lane_squares[5] + lane_squares[6] + lane_squares[7]) / 32.0 + 9.999999747378752e-06f);
  let scale1 = inverseSqrt((lane_squares[8] + lane_squares[9] + lane_squares[10] + lane_squares[11]
    + lane_squares[12] + lane_squares[13] + lane_squares[14] + lane_squares[15]) / 32.0 + 9.999999747378752e-06f);
  let scale2 = inverseSqrt((lane_squares[16] + lane_squares[17] + lane_squares[18] + lane_squares[19]
    + lane_squares[20] + lane_squares[21] + lane_squares[22] + lane_squares[23]) / 32.0 + 9.999999747378752e-06f);
  let scale3 = inverseSqrt((lane_squares[24] + lane_squares[25] + lane_squares[26] + lane_squares[27]
    + lane_squares[28] + lane_squares[29] + lane_squares[30] + lane_squares[31]) / 32.0 + 9.999999747378752e-06f);
  for (var k = lane; k < K4; k += LANES) {
    let g = load_gamma(k);
    let b = load_beta(k);
    if (row + 0u < dims.T) {
      store_y(at0 + k, (load_x(at0 + k) - mean0) * scale0 * g + b);
    }
    if (row + 1u < dims.T) {
      store_y(at1 + k, (load_x(at1 + k) - mean1) * scale1 * g + b);
    }
    if (row + 2u < dims.T) {
      store_y(at2 + k, (load_x(at2 + k) - mean2) * scale2 * g + b);
    }
    if (row + 3u < dims.T) {
      store_y(at3 + k, (load_x(at3 + k) - mean3) * scale3 * g + b);
    }
  }
}
