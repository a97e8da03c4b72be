// RMSNorm, then matrix times vector: y[n] = norm(x) . weight[n], each invocation 8 outputs; heads are rotated.
//
// step, 2 dispatches:
//   /model/layers.0/input_layernorm/Pow, /model/layers.0/input_layernorm/ReduceMean,
//     /model/layers.0/input_layernorm/Add, /model/layers.0/input_layernorm/Sqrt, +38
//   /model/layers.1/input_layernorm/Pow, /model/layers.1/input_layernorm/ReduceMean,
//     /model/layers.1/input_layernorm/Add, /model/layers.1/input_layernorm/Sqrt, +38
// variant 'rows8' for matvec_rmsnorm_rotary 48x80
// reads weight f32[80,48], x f32[1,1,48], cos f32[512,4], sin f32[512,4], gamma f32[48]
// writes y0 f32[1,1,48], y1 f32[1,2,past+1,8], y2 f32[1,2,past+1,8]
// at most 32.4 kB moved, 7.68 kFLOP a dispatch

struct Dims {
  drawn: u32,
  new_tokens: u32,
  past: u32,
  seed: u32,
}

@group(0) @binding(0) var weight: texture_storage_2d<rgba32float, read>;
@group(0) @binding(1) var x: texture_2d<f32>;
@group(0) @binding(2) var cos: texture_2d<f32>;
@group(0) @binding(3) var sin: texture_2d<f32>;
@group(0) @binding(4) var gamma: texture_2d<f32>;
@group(0) @binding(5) var y0: texture_storage_2d<rgba32float, write>;
@group(0) @binding(6) var y1: texture_storage_2d<rgba32float, write>;
@group(0) @binding(7) var y2: texture_storage_2d<rgba32float, write>;
@group(0) @binding(8) var<uniform> dims: Dims;

fn load_weight(i: u32) -> vec4f {
  return textureLoad(weight, vec2u(i % 1024u, i / 1024u));
}

fn load_x(i: u32) -> vec4f {
  return textureLoad(x, vec2u(i % 16u, i / 16u), 0);
}

fn load_cos(i: u32) -> vec4f {
  return textureLoad(cos, vec2u(i % 512u, i / 512u), 0);
}

fn load_sin(i: u32) -> vec4f {
  return textureLoad(sin, vec2u(i % 512u, i / 512u), 0);
}

fn load_gamma(i: u32) -> vec4f {
  return textureLoad(gamma, vec2u(i % 16u, i / 16u), 0);
}

fn store_y0(i: u32, value: vec4f) {
  textureStore(y0, vec2u(i % 16u, i / 16u), value);
}

fn store_y1(i: u32, value: vec4f) {
  textureStore(y1, vec2u(i % 2048u, i / 2048u), value);
}

fn store_y2(i: u32, value: vec4f) {
  textureStore(y2, vec2u(i % 2048u, i / 2048u), value);
}

const K4 = 12u;  // vec4s in x
const ROW = K4;  // texels in a row of the weight
const GROUPS = 20u;  // groups of 4 rows in the weight, which is packed [n/8][ROW][8]

const HALF = 1u;  // vec4s in half a head

fn rotated(position: u32, n: u32, a: vec4f, b: vec4f) -> mat2x4f {
  let angle = position * HALF + n % HALF;
  let cosines = load_cos(angle);
  let sines = load_sin(angle);
  return mat2x4f(a * cosines - b * sines, b * cosines + a * sines);
}

fn store(group: u32, sum: vec4f, sum1: vec4f) {
  if (group >= GROUPS) {
    return;
  }
  let n = group;  // vec4 of a row
  let acc = sum;
  let acc1 = sum1;
  if (n < 12u) {
    let at = n;
    let head = rotated(dims.past, n, acc, acc1);
    store_y0(at, head[0]);
    store_y0(at + HALF, head[1]);
  } else if (n < 16u) {
    let at = (n - 12u) / 2u * 1024u + dims.past * 2u + (n - 12u) % 2u;
    let head = rotated(dims.past, n, acc, acc1);
    store_y1(at, head[0]);
    store_y1(at + HALF, head[1]);
  } else {
    let at = (n - 16u) / 2u * 1024u + dims.past * 2u + (n - 16u) % 2u;
    store_y2(at, acc);
    store_y2(at + HALF, acc1);
  }
}

@compute @workgroup_size(8, 1, 1)
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let pair0 = workgroup.x * 8u + local.x;
  let group0 = pair0 / HALF * HALF * 2u + pair0 % HALF;
  let w0 = min(group0, GROUPS - 1u) / 2u * ROW * 8u + group0 % 2u * 4u;
  let group1 = group0 + HALF;
  let w1 = min(group1, GROUPS - 1u) / 2u * ROW * 8u + group1 % 2u * 4u;
  var squares = vec4f();
  for (var k = 0u; k < K4; k++) {
    let x = load_x(k);
    squares += x * x;
  }
  let scale = inverseSqrt(dot(squares, vec4f(1.0)) / 48.0 + 1e-06f);
  // Unrolled, so that sums stay in registers: sumG is the 4 numbers of group G. It stands for
  //   for (k) for (G) for (J) sumG[J] += dot(x[k], weight[4 groupG + J][k]);
  var sum0 = vec4f();
  var sum1 = vec4f();
  for (var k = 0u; k < K4; k++) {
    let a = load_x(k) * scale * load_gamma(k);
    sum0 += vec4f(
      dot(a, load_weight(w0 + k * 8u)),
      dot(a, load_weight(w0 + k * 8u + 1u)),
      dot(a, load_weight(w0 + k * 8u + 2u)),
      dot(a, load_weight(w0 + k * 8u + 3u)),
    );
    sum1 += vec4f(
      dot(a, load_weight(w1 + k * 8u)),
      dot(a, load_weight(w1 + k * 8u + 1u)),
      dot(a, load_weight(w1 + k * 8u + 2u)),
      dot(a, load_weight(w1 + k * 8u + 3u)),
    );
  }

  store(group0, sum0, sum1);
}
