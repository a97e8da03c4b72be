// LayerNorm: y[row] = (x[row] - mean) / sqrt(variance + epsilon) * gamma + beta, 4 rows a workgroup of 8 lanes.
//
// encode, 5 dispatches:
//   /layers.0/self_attn_layer_norm/LayerNormalization
//   /layers.0/final_layer_norm/LayerNormalization
//   /layers.1/self_attn_layer_norm/LayerNormalization
//   /layers.1/final_layer_norm/LayerNormalization
//   and 1 more
// reads x f32[1,50,32], gamma f32[32], beta f32[32]
// writes y f32[1,50,32]
// at most 13.1 kB moved, 12.8 kFLOP a dispatch

@group(0) @binding(0) var x: texture_storage_2d<rgba32float, read>;
@group(0) @binding(1) var gamma: texture_storage_2d<rgba32float, read>;
@group(0) @binding(2) var beta: texture_storage_2d<rgba32float, read>;
@group(0) @binding(3) var y: texture_storage_2d<rgba32float, write>;

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

// The sum and the sum of squares that each lane found in each row, of x - x[row, 0] so that one pass is exact enough.
var<workgroup> lane_sums: array<vec2f, 32>;

@compute @workgroup_size(8, 1, 1)
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let lane = local.x;
  let row = workgroup.x * 4u;
  let at0 = min(row + 0u, 50u - 1u) * K4;
  let shift0 = load_x(at0).x;
  var sum0 = vec4f();
  var squares0 = vec4f();
  let at1 = min(row + 1u, 50u - 1u) * K4;
  let shift1 = load_x(at1).x;
  var sum1 = vec4f();
  var squares1 = vec4f();
  let at2 = min(row + 2u, 50u - 1u) * K4;
  let shift2 = load_x(at2).x;
  var sum2 = vec4f();
  var squares2 = vec4f();
  let at3 = min(row + 3u, 50u - 1u) * K4;
  let shift3 = load_x(at3).x;
  var sum3 = vec4f();
  var squares3 = vec4f();
  for (var k = lane; k < K4; k += LANES) {
    let d0 = load_x(at0 + k) - shift0;
    sum0 += d0;
    squares0 += d0 * d0;
    let d1 = load_x(at1 + k) - shift1;
    sum1 += d1;
    squares1 += d1 * d1;
    let d2 = load_x(at2 + k) - shift2;
    sum2 += d2;
    squares2 += d2 * d2;
    let d3 = load_x(at3 + k) - shift3;
    sum3 += d3;
    squares3 += d3 * d3;
  }
  lane_sums[0u + lane] = vec2f(dot(sum0, vec4f(1.0)), dot(squares0, vec4f(1.0)));
  lane_sums[8u + lane] = vec2f(dot(sum1, vec4f(1.0)), dot(squares1, vec4f(1.0)));
  lane_sums[16u + lane] = vec2f(dot(sum2, vec4f(1.0)), dot(squares2, vec4f(1.0)));
  lane_sums[24u + lane] = vec2f(dot(sum3, vec4f(1.0)), dot(squares3, vec4f(1.0)));
  workgroupBarrier();
  if (lane < 4u) {
    var total = vec2f();
    for (var i = 0u; i < LANES; i++) {
      total += lane_sums[lane * LANES + i];
    }
    let mean = total.x / 32.0;  // less the shift
    let variance = max(total.y / 32.0 - mean * mean, 0.0);
    lane_sums[lane * LANES] = vec2f(mean, inverseSqrt(variance + 9.999999747378752e-06f));
  }
  workgroupBarrier();
  let norm0 = lane_sums[0u];
  let mean0 = norm0.x + shift0;
  let norm1 = lane_sums[8u];
  let mean1 = norm1.x + shift1;
  let norm2 = lane_sums[16u];
  let mean2 = norm2.x + shift2;
  let norm3 = lane_sums[24u];
  let mean3 = norm3.x + shift3;
  for (var k = lane; k < K4; k += LANES) {
    let g = load_gamma(k);
    let b = load_beta(k);
    if (row + 0u < 50u) {
      store_y(at0 + k, (load_x(at0 + k) - mean0) * norm0.y * g + b);
    }
    if (row + 1u < 50u) {
      store_y(at1 + k, (load_x(at1 + k) - mean1) * norm1.y * g + b);
    }
    if (row + 2u < 50u) {
      store_y(at2 + k, (load_x(at2 + k) - mean2) * norm2.y * g + b);
    }
    if (row + 3u < 50u) {
      store_y(at3 + k, (load_x(at3 + k) - mean3) * norm3.y * g + b);
    }
  }
}
