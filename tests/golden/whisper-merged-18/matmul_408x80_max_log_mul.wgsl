// Matrix product: y[row, n] = x[row] . weight[n], each invocation a tile of 16 rows and 8 columns.
//
// mel, 1 dispatch:
//   mel/mel, mel/clipped, mel/natural, mel/log
// reads x f32[1,100,408], weight f32[80,408]
// writes y f32[1,100,80]
// at most 326 kB moved, 6.53 MFLOP a dispatch

@group(0) @binding(0) var x: texture_storage_2d<rgba32float, read>;
@group(0) @binding(1) var weight: texture_storage_2d<rgba32float, read>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4f>;

fn load_x(i: u32) -> vec4f {
  return textureLoad(x, vec2u(i % 2048u, i / 2048u));
}

fn load_weight(i: u32) -> vec4f {
  return textureLoad(weight, vec2u(i % 2048u, i / 2048u));
}

fn store_y(i: u32, value: vec4f) {
  y[i] = value;
}

const K4 = 102u;  // vec4s in a row of x
const ROW = K4;  // texels in a row of the weight
const GROUPS = 20u;  // groups of 4 columns in the weight, which is packed [n/8][ROW][8]

fn row_start(row: u32) -> u32 {
  return row * K4;
}

fn row_part(at: u32) -> vec4f {
  return load_x(at);
}

fn store(row: u32, group: u32, sum: vec4f) {
  if (group >= 20u) {
    return;
  }
  let n = group;  // in vec4s, as is i
  let acc = sum;
  let t0 = max(acc, vec4f(1.000000013351432e-10f));
  let t1 = log(t0);
  let t2 = t1 * vec4f(0.4342944920063019f);
  store_y(row * 20u + n, t2);
}

@compute @workgroup_size(8, 4, 1)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(workgroup_id) workgroup: vec3u,
        @builtin(local_invocation_id) local: vec3u) {
  let row = id.y * 16u;
  if (row >= 100u) {
    return;
  }
  let last = 100u - 1u;
  let group0 = workgroup.x * 16u + local.x;
  let w0 = min(group0, GROUPS - 1u) / 2u * ROW * 8u + group0 % 2u * 4u;
  let group1 = workgroup.x * 16u + 8u + local.x;
  let w1 = min(group1, GROUPS - 1u) / 2u * ROW * 8u + group1 % 2u * 4u;
  let x0 = row_start(min(row + 0u, last));
  let x1 = row_start(min(row + 1u, last));
  let x2 = row_start(min(row + 2u, last));
  let x3 = row_start(min(row + 3u, last));
  let x4 = row_start(min(row + 4u, last));
  let x5 = row_start(min(row + 5u, last));
  let x6 = row_start(min(row + 6u, last));
  let x7 = row_start(min(row + 7u, last));
  let x8 = row_start(min(row + 8u, last));
  let x9 = row_start(min(row + 9u, last));
  let x10 = row_start(min(row + 10u, last));
  let x11 = row_start(min(row + 11u, last));
  let x12 = row_start(min(row + 12u, last));
  let x13 = row_start(min(row + 13u, last));
  let x14 = row_start(min(row + 14u, last));
  let x15 = row_start(min(row + 15u, last));
  var sum0_0 = vec4f();
  var sum0_1 = vec4f();
  var sum1_0 = vec4f();
  var sum1_1 = vec4f();
  var sum2_0 = vec4f();
  var sum2_1 = vec4f();
  var sum3_0 = vec4f();
  var sum3_1 = vec4f();
  var sum4_0 = vec4f();
  var sum4_1 = vec4f();
  var sum5_0 = vec4f();
  var sum5_1 = vec4f();
  var sum6_0 = vec4f();
  var sum6_1 = vec4f();
  var sum7_0 = vec4f();
  var sum7_1 = vec4f();
  var sum8_0 = vec4f();
  var sum8_1 = vec4f();
  var sum9_0 = vec4f();
  var sum9_1 = vec4f();
  var sum10_0 = vec4f();
  var sum10_1 = vec4f();
  var sum11_0 = vec4f();
  var sum11_1 = vec4f();
  var sum12_0 = vec4f();
  var sum12_1 = vec4f();
  var sum13_0 = vec4f();
  var sum13_1 = vec4f();
  var sum14_0 = vec4f();
  var sum14_1 = vec4f();
  var sum15_0 = vec4f();
  var sum15_1 = vec4f();
  for (var k = 0u; k < K4; k++) {
    let b0 = load_weight(w0 + k * 8u + 0u);
    let b1 = load_weight(w0 + k * 8u + 1u);
    let b2 = load_weight(w0 + k * 8u + 2u);
    let b3 = load_weight(w0 + k * 8u + 3u);
    let b4 = load_weight(w1 + k * 8u + 0u);
    let b5 = load_weight(w1 + k * 8u + 1u);
    let b6 = load_weight(w1 + k * 8u + 2u);
    let b7 = load_weight(w1 + k * 8u + 3u);
    let c0x = vec4f(b0.x, b1.x, b2.x, b3.x);
    let c0y = vec4f(b0.y, b1.y, b2.y, b3.y);
    let c0z = vec4f(b0.z, b1.z, b2.z, b3.z);
    let c0w = vec4f(b0.w, b1.w, b2.w, b3.w);
    let c1x = vec4f(b4.x, b5.x, b6.x, b7.x);
    let c1y = vec4f(b4.y, b5.y, b6.y, b7.y);
    let c1z = vec4f(b4.z, b5.z, b6.z, b7.z);
    let c1w = vec4f(b4.w, b5.w, b6.w, b7.w);
    let a0 = row_part(x0 + k);
    sum0_0 = fma(vec4f(a0.x), c0x, sum0_0);
    sum0_0 = fma(vec4f(a0.y), c0y, sum0_0);
    sum0_0 = fma(vec4f(a0.z), c0z, sum0_0);
    sum0_0 = fma(vec4f(a0.w), c0w, sum0_0);
    sum0_1 = fma(vec4f(a0.x), c1x, sum0_1);
    sum0_1 = fma(vec4f(a0.y), c1y, sum0_1);
    sum0_1 = fma(vec4f(a0.z), c1z, sum0_1);
    sum0_1 = fma(vec4f(a0.w), c1w, sum0_1);
    let a1 = row_part(x1 + k);
    sum1_0 = fma(vec4f(a1.x), c0x, sum1_0);
    sum1_0 = fma(vec4f(a1.y), c0y, sum1_0);
    sum1_0 = fma(vec4f(a1.z), c0z, sum1_0);
    sum1_0 = fma(vec4f(a1.w), c0w, sum1_0);
    sum1_1 = fma(vec4f(a1.x), c1x, sum1_1);
    sum1_1 = fma(vec4f(a1.y), c1y, sum1_1);
    sum1_1 = fma(vec4f(a1.z), c1z, sum1_1);
    sum1_1 = fma(vec4f(a1.w), c1w, sum1_1);
    let a2 = row_part(x2 + k);
    sum2_0 = fma(vec4f(a2.x), c0x, sum2_0);
    sum2_0 = fma(vec4f(a2.y), c0y, sum2_0);
    sum2_0 = fma(vec4f(a2.z), c0z, sum2_0);
    sum2_0 = fma(vec4f(a2.w), c0w, sum2_0);
    sum2_1 = fma(vec4f(a2.x), c1x, sum2_1);
    sum2_1 = fma(vec4f(a2.y), c1y, sum2_1);
    sum2_1 = fma(vec4f(a2.z), c1z, sum2_1);
    sum2_1 = fma(vec4f(a2.w), c1w, sum2_1);
    let a3 = row_part(x3 + k);
    sum3_0 = fma(vec4f(a3.x), c0x, sum3_0);
    sum3_0 = fma(vec4f(a3.y), c0y, sum3_0);
    sum3_0 = fma(vec4f(a3.z), c0z, sum3_0);
    sum3_0 = fma(vec4f(a3.w), c0w, sum3_0);
    sum3_1 = fma(vec4f(a3.x), c1x, sum3_1);
    sum3_1 = fma(vec4f(a3.y), c1y, sum3_1);
    sum3_1 = fma(vec4f(a3.z), c1z, sum3_1);
    sum3_1 = fma(vec4f(a3.w), c1w, sum3_1);
    let a4 = row_part(x4 + k);
    sum4_0 = fma(vec4f(a4.x), c0x, sum4_0);
    sum4_0 = fma(vec4f(a4.y), c0y, sum4_0);
    sum4_0 = fma(vec4f(a4.z), c0z, sum4_0);
    sum4_0 = fma(vec4f(a4.w), c0w, sum4_0);
    sum4_1 = fma(vec4f(a4.x), c1x, sum4_1);
    sum4_1 = fma(vec4f(a4.y), c1y, sum4_1);
    sum4_1 = fma(vec4f(a4.z), c1z, sum4_1);
    sum4_1 = fma(vec4f(a4.w), c1w, sum4_1);
    let a5 = row_part(x5 + k);
    sum5_0 = fma(vec4f(a5.x), c0x, sum5_0);
    sum5_0 = fma(vec4f(a5.y), c0y, sum5_0);
    sum5_0 = fma(vec4f(a5.z), c0z, sum5_0);
    sum5_0 = fma(vec4f(a5.w), c0w, sum5_0);
    sum5_1 = fma(vec4f(a5.x), c1x, sum5_1);
    sum5_1 = fma(vec4f(a5.y), c1y, sum5_1);
    sum5_1 = fma(vec4f(a5.z), c1z, sum5_1);
    sum5_1 = fma(vec4f(a5.w), c1w, sum5_1);
    let a6 = row_part(x6 + k);
    sum6_0 = fma(vec4f(a6.x), c0x, sum6_0);
    sum6_0 = fma(vec4f(a6.y), c0y, sum6_0);
    sum6_0 = fma(vec4f(a6.z), c0z, sum6_0);
    sum6_0 = fma(vec4f(a6.w), c0w, sum6_0);
    sum6_1 = fma(vec4f(a6.x), c1x, sum6_1);
    sum6_1 = fma(vec4f(a6.y), c1y, sum6_1);
    sum6_1 = fma(vec4f(a6.z), c1z, sum6_1);
    sum6_1 = fma(vec4f(a6.w), c1w, sum6_1);
    let a7 = row_part(x7 + k);
    sum7_0 = fma(vec4f(a7.x), c0x, sum7_0);
    sum7_0 = fma(vec4f(a7.y), c0y, sum7_0);
    sum7_0 = fma(vec4f(a7.z), c0z, sum7_0);
    sum7_0 = fma(vec4f(a7.w), c0w, sum7_0);
    sum7_1 = fma(vec4f(a7.x), c1x, sum7_1);
    sum7_1 = fma(vec4f(a7.y), c1y, sum7_1);
    sum7_1 = fma(vec4f(a7.z), c1z, sum7_1);
    sum7_1 = fma(vec4f(a7.w), c1w, sum7_1);
    let a8 = row_part(x8 + k);
    sum8_0 = fma(vec4f(a8.x), c0x, sum8_0);
    sum8_0 = fma(vec4f(a8.y), c0y, sum8_0);
    sum8_0 = fma(vec4f(a8.z), c0z, sum8_0);
    sum8_0 = fma(vec4f(a8.w), c0w, sum8_0);
    sum8_1 = fma(vec4f(a8.x), c1x, sum8_1);
    sum8_1 = fma(vec4f(a8.y), c1y, sum8_1);
    sum8_1 = fma(vec4f(a8.z), c1z, sum8_1);
    sum8_1 = fma(vec4f(a8.w), c1w, sum8_1);
    let a9 = row_part(x9 + k);
    sum9_0 = fma(vec4f(a9.x), c0x, sum9_0);
    sum9_0 = fma(vec4f(a9.y), c0y, sum9_0);
    sum9_0 = fma(vec4f(a9.z), c0z, sum9_0);
    sum9_0 = fma(vec4f(a9.w), c0w, sum9_0);
    sum9_1 = fma(vec4f(a9.x), c1x, sum9_1);
    sum9_1 = fma(vec4f(a9.y), c1y, sum9_1);
    sum9_1 = fma(vec4f(a9.z), c1z, sum9_1);
    sum9_1 = fma(vec4f(a9.w), c1w, sum9_1);
    let a10 = row_part(x10 + k);
    sum10_0 = fma(vec4f(a10.x), c0x, sum10_0);
    sum10_0 = fma(vec4f(a10.y), c0y, sum10_0);
    sum10_0 = fma(vec4f(a10.z), c0z, sum10_0);
    sum10_0 = fma(vec4f(a10.w), c0w, sum10_0);
    sum10_1 = fma(vec4f(a10.x), c1x, sum10_1);
    sum10_1 = fma(vec4f(a10.y), c1y, sum10_1);
    sum10_1 = fma(vec4f(a10.z), c1z, sum10_1);
    sum10_1 = fma(vec4f(a10.w), c1w, sum10_1);
    let a11 = row_part(x11 + k);
    sum11_0 = fma(vec4f(a11.x), c0x, sum11_0);
    sum11_0 = fma(vec4f(a11.y), c0y, sum11_0);
    sum11_0 = fma(vec4f(a11.z), c0z, sum11_0);
    sum11_0 = fma(vec4f(a11.w), c0w, sum11_0);
    sum11_1 = fma(vec4f(a11.x), c1x, sum11_1);
    sum11_1 = fma(vec4f(a11.y), c1y, sum11_1);
    sum11_1 = fma(vec4f(a11.z), c1z, sum11_1);
    sum11_1 = fma(vec4f(a11.w), c1w, sum11_1);
    let a12 = row_part(x12 + k);
    sum12_0 = fma(vec4f(a12.x), c0x, sum12_0);
    sum12_0 = fma(vec4f(a12.y), c0y, sum12_0);
    sum12_0 = fma(vec4f(a12.z), c0z, sum12_0);
    sum12_0 = fma(vec4f(a12.w), c0w, sum12_0);
    sum12_1 = fma(vec4f(a12.x), c1x, sum12_1);
    sum12_1 = fma(vec4f(a12.y), c1y, sum12_1);
    sum12_1 = fma(vec4f(a12.z), c1z, sum12_1);
    sum12_1 = fma(vec4f(a12.w), c1w, sum12_1);
    let a13 = row_part(x13 + k);
    sum13_0 = fma(vec4f(a13.x), c0x, sum13_0);
    sum13_0 = fma(vec4f(a13.y), c0y, sum13_0);
    sum13_0 = fma(vec4f(a13.z), c0z, sum13_0);
    sum13_0 = fma(vec4f(a13.w), c0w, sum13_0);
    sum13_1 = fma(vec4f(a13.x), c1x, sum13_1);
    sum13_1 = fma(vec4f(a13.y), c1y, sum13_1);
    sum13_1 = fma(vec4f(a13.z), c1z, sum13_1);
    sum13_1 = fma(vec4f(a13.w), c1w, sum13_1);
    let a14 = row_part(x14 + k);
    sum14_0 = fma(vec4f(a14.x), c0x, sum14_0);
    sum14_0 = fma(vec4f(a14.y), c0y, sum14_0);
    sum14_0 = fma(vec4f(a14.z), c0z, sum14_0);
    sum14_0 = fma(vec4f(a14.w), c0w, sum14_0);
    sum14_1 = fma(vec4f(a14.x), c1x, sum14_1);
    sum14_1 = fma(vec4f(a14.y), c1y, sum14_1);
    sum14_1 = fma(vec4f(a14.z), c1z, sum14_1);
    sum14_1 = fma(vec4f(a14.w), c1w, sum14_1);
    let a15 = row_part(x15 + k);
    sum15_0 = fma(vec4f(a15.x), c0x, sum15_0);
    sum15_0 = fma(vec4f(a15.y), c0y, sum15_0);
    sum15_0 = fma(vec4f(a15.z), c0z, sum15_0);
    sum15_0 = fma(vec4f(a15.w), c0w, sum15_0);
    sum15_1 = fma(vec4f(a15.x), c1x, sum15_1);
    sum15_1 = fma(vec4f(a15.y), c1y, sum15_1);
    sum15_1 = fma(vec4f(a15.z), c1z, sum15_1);
    sum15_1 = fma(vec4f(a15.w), c1w, sum15_1);
}
  // A row at a time: few stores keep the shader quick to compile.
  for (var r = 0u; r < min(16u, 100u - row); r++) {
    var sum0 = sum0_0;
    var sum1 = sum0_1;
    switch r {
      case 1u: { sum0 = sum1_0; sum1 = sum1_1; }
      case 2u: { sum0 = sum2_0; sum1 = sum2_1; }
      case 3u: { sum0 = sum3_0; sum1 = sum3_1; }
      case 4u: { sum0 = sum4_0; sum1 = sum4_1; }
      case 5u: { sum0 = sum5_0; sum1 = sum5_1; }
      case 6u: { sum0 = sum6_0; sum1 = sum6_1; }
      case 7u: { sum0 = sum7_0; sum1 = sum7_1; }
      case 8u: { sum0 = sum8_0; sum1 = sum8_1; }
      case 9u: { sum0 = sum9_0; sum1 = sum9_1; }
      case 10u: { sum0 = sum10_0; sum1 = sum10_1; }
      case 11u: { sum0 = sum11_0; sum1 = sum11_1; }
      case 12u: { sum0 = sum12_0; sum1 = sum12_1; }
      case 13u: { sum0 = sum13_0; sum1 = sum13_1; }
      case 14u: { sum0 = sum14_0; sum1 = sum14_1; }
      case 15u: { sum0 = sum15_0; sum1 = sum15_1; }
      default: {}
    }
    store(row + r, group0, sum0);
    store(row + r, group1, sum1);
  }
}
