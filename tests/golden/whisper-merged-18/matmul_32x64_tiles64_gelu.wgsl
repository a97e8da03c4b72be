// Matrix product: y[row, n] = x[row] . weight[n], each workgroup a tile of 64 rows and 64 columns.
//
// encode, 2 dispatches:
//   /layers.0/fc1/MatMul, /layers.0/fc1/Add, /layers.0/activation_fn/Div, /layers.0/activation_fn/Erf, +3
//   /layers.1/fc1/MatMul, /layers.1/fc1/Add, /layers.1/activation_fn/Div, /layers.1/activation_fn/Erf, +3
// design 'tiles64' for matmul 50x32x64
// reads x f32[1,50,32], weight f32[64,32], bias f32[64]
// writes y f32[1,50,64]
// at most 27.6 kB moved, 205 kFLOP a dispatch

@group(0) @binding(0) var x: texture_storage_2d<rgba32float, read>;
@group(0) @binding(1) var weight: texture_storage_2d<rgba32float, read>;
@group(0) @binding(2) var bias: texture_storage_2d<rgba32float, read>;
@group(0) @binding(3) var y: texture_storage_2d<rgba32float, write>;

fn load_x(i: u32) -> vec4f {
  return textureLoad(x, vec2u(i % 512u, i / 512u));
}

fn load_weight(i: u32) -> vec4f {
  return textureLoad(weight, vec2u(i % 512u, i / 512u));
}

fn load_bias(i: u32) -> vec4f {
  return textureLoad(bias, vec2u(i % 16u, i / 16u));
}

fn store_y(i: u32, value: vec4f) {
  textureStore(y, vec2u(i % 1024u, i / 1024u), value);
}

const K4 = 8u;  // vec4s in a row of x
const ROW = K4;  // texels in a row of the weight
const GROUPS = 16u;  // groups of 4 columns in the weight, which is packed [n/8][ROW][8]
const ROWS = 64u;  // rows of a workgroup
const STEP = 4u;  // vec4s of a row that are in workgroup memory at a time

var<workgroup> x_tile: array<vec4f, STEP * ROWS>;
var<workgroup> weight_tile: array<vec4f, STEP * 64u>;

fn row_start(row: u32) -> u32 {
  return row * K4;
}

fn row_part(at: u32) -> vec4f {
  return load_x(at);
}

// vec4 k of row j in a group.
fn weight_part(group: u32, j: u32, k: u32) -> vec4f {
  return load_weight(group / 2u * ROW * 8u + group % 2u * 4u + j + k * 8u);
}

fn store(row: u32, group: u32, sum: vec4f) {
  if (group >= 16u) {
    return;
  }
  let n = group;  // in vec4s, as is i
  let acc = sum + load_bias(n);
  let t0 = gelu(acc);
  store_y(row * 16u + n, t0);
}

alias Number = vec4f;

// The error function; its relative error is below 1.2e-7 (Press et al., Numerical Recipes, 6.2).
fn erf(x: Number) -> Number {
  let t = 1.0 / (1.0 + 0.5 * abs(x));
  let series = -1.26551223 + t * (1.00002368 + t * (0.37409196 + t * (0.09678418 + t * (-0.18628806
    + t * (0.27886807 + t * (-1.13520398 + t * (1.48851587 + t * (-0.82215223 + t * 0.17087277))))))));
  return sign(x) * (1.0 - t * exp(-x * x + series));
}

// GELU: x times the normal distribution function.
fn gelu(x: Number) -> Number {
  return 0.5 * x * (1.0 + erf(x * 0.70710678));
}

@compute @workgroup_size(16, 16, 1)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(workgroup_id) workgroup: vec3u,
        @builtin(local_invocation_id) local: vec3u) {
  let row = workgroup.y * ROWS + local.y * 4u;
  let last = 50u - 1u;
  let group0 = workgroup.x * 16u + local.x;
  var sum0_0 = vec4f();
  var sum1_0 = vec4f();
  var sum2_0 = vec4f();
  var sum3_0 = vec4f();
  // What this invocation brings into workgroup memory: neighbours read neighbouring vec4s.
  let lane = local.y * 16u + local.x;
  let j = lane % 4u;
  let step = lane / 8u % STEP;
  let column = lane / 32u * 2u + lane / 4u % 2u;
  for (var block = 0u; block < K4; block += STEP) {
    x_tile[lane % STEP * ROWS + 0u + lane / STEP] = select(
      vec4f(),
      row_part(row_start(min(workgroup.y * ROWS + 0u + lane / STEP, last)) + block + lane % STEP),
      block + lane % STEP < K4,
    );
    weight_tile[((step * 1u + 0u) * 4u + j) * 16u + column] = weight_part(
      min(workgroup.x * 16u + 0u + column, GROUPS - 1u), j, min(block + step, K4 - 1u));
    workgroupBarrier();
    for (var k = 0u; k < STEP; k++) {
      let b0 = weight_tile[k * 64u + 0u + local.x];
      let b1 = weight_tile[k * 64u + 16u + local.x];
      let b2 = weight_tile[k * 64u + 32u + local.x];
      let b3 = weight_tile[k * 64u + 48u + local.x];
      let c0x = vec4f(b0.x, b1.x, b2.x, b3.x);
      let c0y = vec4f(b0.y, b1.y, b2.y, b3.y);
      let c0z = vec4f(b0.z, b1.z, b2.z, b3.z);
      let c0w = vec4f(b0.w, b1.w, b2.w, b3.w);
      let a0 = x_tile[k * ROWS + local.y * 4u + 0u];
      sum0_0 = fma(vec4f(a0.x), c0x, sum0_0);
      sum0_0 = fma(vec4f(a0.y), c0y, sum0_0);
      sum0_0 = fma(vec4f(a0.z), c0z, sum0_0);
      sum0_0 = fma(vec4f(a0.w), c0w, sum0_0);
      let a1 = x_tile[k * ROWS + local.y * 4u + 1u];
      sum1_0 = fma(vec4f(a1.x), c0x, sum1_0);
      sum1_0 = fma(vec4f(a1.y), c0y, sum1_0);
      sum1_0 = fma(vec4f(a1.z), c0z, sum1_0);
      sum1_0 = fma(vec4f(a1.w), c0w, sum1_0);
      let a2 = x_tile[k * ROWS + local.y * 4u + 2u];
      sum2_0 = fma(vec4f(a2.x), c0x, sum2_0);
      sum2_0 = fma(vec4f(a2.y), c0y, sum2_0);
      sum2_0 = fma(vec4f(a2.z), c0z, sum2_0);
      sum2_0 = fma(vec4f(a2.w), c0w, sum2_0);
      let a3 = x_tile[k * ROWS + local.y * 4u + 3u];
      sum3_0 = fma(vec4f(a3.x), c0x, sum3_0);
      sum3_0 = fma(vec4f(a3.y), c0y, sum3_0);
      sum3_0 = fma(vec4f(a3.z), c0z, sum3_0);
      sum3_0 = fma(vec4f(a3.w), c0w, sum3_0);
    }
    workgroupBarrier();
  }

  if (row > last) {
    return;
  }
  // A row at a time: few stores keep the shader quick to compile.
  for (var r = 0u; r < min(4u, 50u - row); r++) {
    var sum0 = sum0_0;
    switch r {
      case 1u: { sum0 = sum1_0; }
      case 2u: { sum0 = sum2_0; }
      case 3u: { sum0 = sum3_0; }
      default: {}
    }
    store(row + r, group0, sum0);
  }
}
