// Matrix product: y[row, n] = x[row] . weight[n], each invocation a tile of 16 rows and 4 columns, eight sharing x.
//
// prefill, 2 dispatches:
//   /model/decoder/layers.0/fc2/MatMul, /model/decoder/layers.0/fc2/Add, /model/decoder/layers.0/Add_2
//   /model/decoder/layers.1/fc2/MatMul, /model/decoder/layers.1/fc2/Add, /model/decoder/layers.1/Add_2
// design 'subgroup' for matmul_few Tx64x32, needs subgroups
// reads x f32[1,T,64], weight f32[32,64], bias f32[32], x3 f32[1,T,32]
// writes y f32[1,T,32]
// at most 41.1 kB moved, 262 kFLOP a dispatch

struct Dims {
  P: u32,
  T: u32,
  begin: u32,
  timed: u32,
}

@group(0) @binding(0) var x: texture_storage_2d<rgba32float, read>;
@group(0) @binding(1) var weight: texture_storage_2d<rgba32float, read>;
@group(0) @binding(2) var bias: texture_storage_2d<rgba32float, read>;
@group(0) @binding(3) var x3: texture_2d<f32>;
@group(0) @binding(4) var y: texture_storage_2d<rgba32float, write>;
@group(0) @binding(5) var<uniform> dims: Dims;

fn load_x(i: u32) -> vec4f {
  return textureLoad(x, vec2u(i % 1024u, i / 1024u));
}

fn load_weight(i: u32) -> vec4f {
  return textureLoad(weight, vec2u(i % 512u, i / 512u));
}

fn load_bias(i: u32) -> vec4f {
  return textureLoad(bias, vec2u(i % 16u, i / 16u));
}

fn load_x3(i: u32) -> vec4f {
  return textureLoad(x3, vec2u(i % 512u, i / 512u), 0);
}

fn store_y(i: u32, value: vec4f) {
  textureStore(y, vec2u(i % 512u, i / 512u), value);
}

const K4 = 16u;  // vec4s in a row of x
const ROW = K4;  // texels in a row of the weight
const GROUPS = 8u;  // groups of 4 columns in the weight, which is packed [n/8][ROW][8]
const BLOCK = 32u;  // vec4s of a row that are summed up by themselves: long sums of f32 lose digits

fn row_start(row: u32) -> u32 {
  return row * K4;
}

fn row_part(at: u32) -> vec4f {
  return load_x(at);
}

fn store(row: u32, group: u32, sum: vec4f) {
  if (group >= 8u) {
    return;
  }
  let n = group;  // in vec4s, as is i
  let i = row * 8u + n;
  let acc = sum + load_bias(n);
  let t0 = load_x3(i) + acc;
  store_y(row * 8u + n, t0);
}

@compute @workgroup_size(8, 4, 1)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(workgroup_id) workgroup: vec3u,
        @builtin(local_invocation_id) local: vec3u) {
  let row = id.y * 16u;
  let last = dims.T - 1u;
  let group0 = workgroup.x * 8u + local.x;
  let w0 = min(group0, GROUPS - 1u) / 2u * ROW * 8u + group0 % 2u * 4u;
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
  var sum1_0 = vec4f();
  var sum2_0 = vec4f();
  var sum3_0 = vec4f();
  var sum4_0 = vec4f();
  var sum5_0 = vec4f();
  var sum6_0 = vec4f();
  var sum7_0 = vec4f();
  var sum8_0 = vec4f();
  var sum9_0 = vec4f();
  var sum10_0 = vec4f();
  var sum11_0 = vec4f();
  var sum12_0 = vec4f();
  var sum13_0 = vec4f();
  var sum14_0 = vec4f();
  var sum15_0 = vec4f();
  for (var block = 0u; block < K4; block += BLOCK) {
    let end = min(block + BLOCK, K4);
    var part0_0 = vec4f();
    var part1_0 = vec4f();
    var part2_0 = vec4f();
    var part3_0 = vec4f();
    var part4_0 = vec4f();
    var part5_0 = vec4f();
    var part6_0 = vec4f();
    var part7_0 = vec4f();
    var part8_0 = vec4f();
    var part9_0 = vec4f();
    var part10_0 = vec4f();
    var part11_0 = vec4f();
    var part12_0 = vec4f();
    var part13_0 = vec4f();
    var part14_0 = vec4f();
    var part15_0 = vec4f();
    for (var k = block; k < end; k += 8u) {
      let own0 = row_part(x0 + k + local.x);
      let own1 = row_part(x1 + k + local.x);
      let own2 = row_part(x2 + k + local.x);
      let own3 = row_part(x3 + k + local.x);
      let own4 = row_part(x4 + k + local.x);
      let own5 = row_part(x5 + k + local.x);
      let own6 = row_part(x6 + k + local.x);
      let own7 = row_part(x7 + k + local.x);
      let own8 = row_part(x8 + k + local.x);
      let own9 = row_part(x9 + k + local.x);
      let own10 = row_part(x10 + k + local.x);
      let own11 = row_part(x11 + k + local.x);
      let own12 = row_part(x12 + k + local.x);
      let own13 = row_part(x13 + k + local.x);
      let own14 = row_part(x14 + k + local.x);
      let own15 = row_part(x15 + k + local.x);
      {
        let b0 = load_weight(w0 + (k + 0u) * 8u + 0u);
        let b1 = load_weight(w0 + (k + 0u) * 8u + 1u);
        let b2 = load_weight(w0 + (k + 0u) * 8u + 2u);
        let b3 = load_weight(w0 + (k + 0u) * 8u + 3u);
        let c0x = vec4f(b0.x, b1.x, b2.x, b3.x);
        let c0y = vec4f(b0.y, b1.y, b2.y, b3.y);
        let c0z = vec4f(b0.z, b1.z, b2.z, b3.z);
        let c0w = vec4f(b0.w, b1.w, b2.w, b3.w);
        let a0 = subgroupBroadcast(own0, 0u);
        part0_0 = fma(vec4f(a0.x), c0x, part0_0);
        part0_0 = fma(vec4f(a0.y), c0y, part0_0);
        part0_0 = fma(vec4f(a0.z), c0z, part0_0);
        part0_0 = fma(vec4f(a0.w), c0w, part0_0);
        let a1 = subgroupBroadcast(own1, 0u);
        part1_0 = fma(vec4f(a1.x), c0x, part1_0);
        part1_0 = fma(vec4f(a1.y), c0y, part1_0);
        part1_0 = fma(vec4f(a1.z), c0z, part1_0);
        part1_0 = fma(vec4f(a1.w), c0w, part1_0);
        let a2 = subgroupBroadcast(own2, 0u);
        part2_0 = fma(vec4f(a2.x), c0x, part2_0);
        part2_0 = fma(vec4f(a2.y), c0y, part2_0);
        part2_0 = fma(vec4f(a2.z), c0z, part2_0);
        part2_0 = fma(vec4f(a2.w), c0w, part2_0);
        let a3 = subgroupBroadcast(own3, 0u);
        part3_0 = fma(vec4f(a3.x), c0x, part3_0);
        part3_0 = fma(vec4f(a3.y), c0y, part3_0);
        part3_0 = fma(vec4f(a3.z), c0z, part3_0);
        part3_0 = fma(vec4f(a3.w), c0w, part3_0);
        let a4 = subgroupBroadcast(own4, 0u);
        part4_0 = fma(vec4f(a4.x), c0x, part4_0);
        part4_0 = fma(vec4f(a4.y), c0y, part4_0);
        part4_0 = fma(vec4f(a4.z), c0z, part4_0);
        part4_0 = fma(vec4f(a4.w), c0w, part4_0);
        let a5 = subgroupBroadcast(own5, 0u);
        part5_0 = fma(vec4f(a5.x), c0x, part5_0);
        part5_0 = fma(vec4f(a5.y), c0y, part5_0);
        part5_0 = fma(vec4f(a5.z), c0z, part5_0);
        part5_0 = fma(vec4f(a5.w), c0w, part5_0);
        let a6 = subgroupBroadcast(own6, 0u);
        part6_0 = fma(vec4f(a6.x), c0x, part6_0);
        part6_0 = fma(vec4f(a6.y), c0y, part6_0);
        part6_0 = fma(vec4f(a6.z), c0z, part6_0);
        part6_0 = fma(vec4f(a6.w), c0w, part6_0);
        let a7 = subgroupBroadcast(own7, 0u);
        part7_0 = fma(vec4f(a7.x), c0x, part7_0);
        part7_0 = fma(vec4f(a7.y), c0y, part7_0);
        part7_0 = fma(vec4f(a7.z), c0z, part7_0);
        part7_0 = fma(vec4f(a7.w), c0w, part7_0);
        let a8 = subgroupBroadcast(own8, 0u);
        part8_0 = fma(vec4f(a8.x), c0x, part8_0);
        part8_0 = fma(vec4f(a8.y), c0y, part8_0);
        part8_0 = fma(vec4f(a8.z), c0z, part8_0);
        part8_0 = fma(vec4f(a8.w), c0w, part8_0);
        let a9 = subgroupBroadcast(own9, 0u);
        part9_0 = fma(vec4f(a9.x), c0x, part9_0);
        part9_0 = fma(vec4f(a9.y), c0y, part9_0);
        part9_0 = fma(vec4f(a9.z), c0z, part9_0);
        part9_0 = fma(vec4f(a9.w), c0w, part9_0);
        let a10 = subgroupBroadcast(own10, 0u);
        part10_0 = fma(vec4f(a10.x), c0x, part10_0);
        part10_0 = fma(vec4f(a10.y), c0y, part10_0);
        part10_0 = fma(vec4f(a10.z), c0z, part10_0);
        part10_0 = fma(vec4f(a10.w), c0w, part10_0);
        let a11 = subgroupBroadcast(own11, 0u);
        part11_0 = fma(vec4f(a11.x), c0x, part11_0);
        part11_0 = fma(vec4f(a11.y), c0y, part11_0);
        part11_0 = fma(vec4f(a11.z), c0z, part11_0);
        part11_0 = fma(vec4f(a11.w), c0w, part11_0);
        let a12 = subgroupBroadcast(own12, 0u);
        part12_0 = fma(vec4f(a12.x), c0x, part12_0);
        part12_0 = fma(vec4f(a12.y), c0y, part12_0);
        part12_0 = fma(vec4f(a12.z), c0z, part12_0);
        part12_0 = fma(vec4f(a12.w), c0w, part12_0);
        let a13 = subgroupBroadcast(own13, 0u);
        part13_0 = fma(vec4f(a13.x), c0x, part13_0);
        part13_0 = fma(vec4f(a13.y), c0y, part13_0);
        part13_0 = fma(vec4f(a13.z), c0z, part13_0);
        part13_0 = fma(vec4f(a13.w), c0w, part13_0);
        let a14 = subgroupBroadcast(own14, 0u);
        part14_0 = fma(vec4f(a14.x), c0x, part14_0);
        part14_0 = fma(vec4f(a14.y), c0y, part14_0);
        part14_0 = fma(vec4f(a14.z), c0z, part14_0);
        part14_0 = fma(vec4f(a14.w), c0w, part14_0);
        let a15 = subgroupBroadcast(own15, 0u);
        part15_0 = fma(vec4f(a15.x), c0x, part15_0);
        part15_0 = fma(vec4f(a15.y), c0y, part15_0);
        part15_0 = fma(vec4f(a15.z), c0z, part15_0);
        part15_0 = fma(vec4f(a15.w), c0w, part15_0);
      }
      {
        let b0 = load_weight(w0 + (k + 1u) * 8u + 0u);
        let b1 = load_weight(w0 + (k + 1u) * 8u + 1u);
        let b2 = load_weight(w0 + (k + 1u) * 8u + 2u);
        let b3 = load_weight(w0 + (k + 1u) * 8u + 3u);
        let c0x = vec4f(b0.x, b1.x, b2.x, b3.x);
        let c0y = vec4f(b0.y, b1.y, b2.y, b3.y);
        let c0z = vec4f(b0.z, b1.z, b2.z, b3.z);
        let c0w = vec4f(b0.w, b1.w, b2.w, b3.w);
        let a0 = subgroupBroadcast(own0, 1u);
        part0_0 = fma(vec4f(a0.x), c0x, part0_0);
        part0_0 = fma(vec4f(a0.y), c0y, part0_0);
        part0_0 = fma(vec4f(a0.z), c0z, part0_0);
        part0_0 = fma(vec4f(a0.w), c0w, part0_0);
        let a1 = subgroupBroadcast(own1, 1u);
        part1_0 = fma(vec4f(a1.x), c0x, part1_0);
        part1_0 = fma(vec4f(a1.y), c0y, part1_0);
        part1_0 = fma(vec4f(a1.z), c0z, part1_0);
        part1_0 = fma(vec4f(a1.w), c0w, part1_0);
        let a2 = subgroupBroadcast(own2, 1u);
        part2_0 = fma(vec4f(a2.x), c0x, part2_0);
        part2_0 = fma(vec4f(a2.y), c0y, part2_0);
        part2_0 = fma(vec4f(a2.z), c0z, part2_0);
        part2_0 = fma(vec4f(a2.w), c0w, part2_0);
        let a3 = subgroupBroadcast(own3, 1u);
        part3_0 = fma(vec4f(a3.x), c0x, part3_0);
        part3_0 = fma(vec4f(a3.y), c0y, part3_0);
        part3_0 = fma(vec4f(a3.z), c0z, part3_0);
        part3_0 = fma(vec4f(a3.w), c0w, part3_0);
        let a4 = subgroupBroadcast(own4, 1u);
        part4_0 = fma(vec4f(a4.x), c0x, part4_0);
        part4_0 = fma(vec4f(a4.y), c0y, part4_0);
        part4_0 = fma(vec4f(a4.z), c0z, part4_0);
        part4_0 = fma(vec4f(a4.w), c0w, part4_0);
        let a5 = subgroupBroadcast(own5, 1u);
        part5_0 = fma(vec4f(a5.x), c0x, part5_0);
        part5_0 = fma(vec4f(a5.y), c0y, part5_0);
        part5_0 = fma(vec4f(a5.z), c0z, part5_0);
        part5_0 = fma(vec4f(a5.w), c0w, part5_0);
        let a6 = subgroupBroadcast(own6, 1u);
        part6_0 = fma(vec4f(a6.x), c0x, part6_0);
        part6_0 = fma(vec4f(a6.y), c0y, part6_0);
        part6_0 = fma(vec4f(a6.z), c0z, part6_0);
        part6_0 = fma(vec4f(a6.w), c0w, part6_0);
        let a7 = subgroupBroadcast(own7, 1u);
        part7_0 = fma(vec4f(a7.x), c0x, part7_0);
        part7_0 = fma(vec4f(a7.y), c0y, part7_0);
        part7_0 = fma(vec4f(a7.z), c0z, part7_0);
        part7_0 = fma(vec4f(a7.w), c0w, part7_0);
        let a8 = subgroupBroadcast(own8, 1u);
        part8_0 = fma(vec4f(a8.x), c0x, part8_0);
        part8_0 = fma(vec4f(a8.y), c0y, part8_0);
        part8_0 = fma(vec4f(a8.z), c0z, part8_0);
        part8_0 = fma(vec4f(a8.w), c0w, part8_0);
        let a9 = subgroupBroadcast(own9, 1u);
        part9_0 = fma(vec4f(a9.x), c0x, part9_0);
        part9_0 = fma(vec4f(a9.y), c0y, part9_0);
        part9_0 = fma(vec4f(a9.z), c0z, part9_0);
        part9_0 = fma(vec4f(a9.w), c0w, part9_0);
        let a10 = subgroupBroadcast(own10, 1u);
        part10_0 = fma(vec4f(a10.x), c0x, part10_0);
        part10_0 = fma(vec4f(a10.y), c0y, part10_0);
        part10_0 = fma(vec4f(a10.z), c0z, part10_0);
        part10_0 = fma(vec4f(a10.w), c0w, part10_0);
        let a11 = subgroupBroadcast(own11, 1u);
        part11_0 = fma(vec4f(a11.x), c0x, part11_0);
        part11_0 = fma(vec4f(a11.y), c0y, part11_0);
        part11_0 = fma(vec4f(a11.z), c0z, part11_0);
        part11_0 = fma(vec4f(a11.w), c0w, part11_0);
        let a12 = subgroupBroadcast(own12, 1u);
        part12_0 = fma(vec4f(a12.x), c0x, part12_0);
        part12_0 = fma(vec4f(a12.y), c0y, part12_0);
        part12_0 = fma(vec4f(a12.z), c0z, part12_0);
        part12_0 = fma(vec4f(a12.w), c0w, part12_0);
        let a13 = subgroupBroadcast(own13, 1u);
        part13_0 = fma(vec4f(a13.x), c0x, part13_0);
        part13_0 = fma(vec4f(a13.y), c0y, part13_0);
        part13_0 = fma(vec4f(a13.z), c0z, part13_0);
        part13_0 = fma(vec4f(a13.w), c0w, part13_0);
        let a14 = subgroupBroadcast(own14, 1u);
        part14_0 = fma(vec4f(a14.x), c0x, part14_0);
        part14_0 = fma(vec4f(a14.y), c0y, part14_0);
        part14_0 = fma(vec4f(a14.z), c0z, part14_0);
        part14_0 = fma(vec4f(a14.w), c0w, part14_0);
        let a15 = subgroupBroadcast(own15, 1u);
        part15_0 = fma(vec4f(a15.x), c0x, part15_0);
        part15_0 = fma(vec4f(a15.y), c0y, part15_0);
        part15_0 = fma(vec4f(a15.z), c0z, part15_0);
        part15_0 = fma(vec4f(a15.w), c0w, part15_0);
      }
      {
        let b0 = load_weight(w0 + (k + 2u) * 8u + 0u);
        let b1 = load_weight(w0 + (k + 2u) * 8u + 1u);
        let b2 = load_weight(w0 + (k + 2u) * 8u + 2u);
        let b3 = load_weight(w0 + (k + 2u) * 8u + 3u);
        let c0x = vec4f(b0.x, b1.x, b2.x, b3.x);
        let c0y = vec4f(b0.y, b1.y, b2.y, b3.y);
        let c0z = vec4f(b0.z, b1.z, b2.z, b3.z);
        let c0w = vec4f(b0.w, b1.w, b2.w, b3.w);
        let a0 = subgroupBroadcast(own0, 2u);
        part0_0 = fma(vec4f(a0.x), c0x, part0_0);
        part0_0 = fma(vec4f(a0.y), c0y, part0_0);
        part0_0 = fma(vec4f(a0.z), c0z, part0_0);
        part0_0 = fma(vec4f(a0.w), c0w, part0_0);
        let a1 = subgroupBroadcast(own1, 2u);
        part1_0 = fma(vec4f(a1.x), c0x, part1_0);
        part1_0 = fma(vec4f(a1.y), c0y, part1_0);
        part1_0 = fma(vec4f(a1.z), c0z, part1_0);
        part1_0 = fma(vec4f(a1.w), c0w, part1_0);
        let a2 = subgroupBroadcast(own2, 2u);
        part2_0 = fma(vec4f(a2.x), c0x, part2_0);
        part2_0 = fma(vec4f(a2.y), c0y, part2_0);
        part2_0 = fma(vec4f(a2.z), c0z, part2_0);
        part2_0 = fma(vec4f(a2.w), c0w, part2_0);
        let a3 = subgroupBroadcast(own3, 2u);
        part3_0 = fma(vec4f(a3.x), c0x, part3_0);
        part3_0 = fma(vec4f(a3.y), c0y, part3_0);
        part3_0 = fma(vec4f(a3.z), c0z, part3_0);
        part3_0 = fma(vec4f(a3.w), c0w, part3_0);
        let a4 = subgroupBroadcast(own4, 2u);
        part4_0 = fma(vec4f(a4.x), c0x, part4_0);
        part4_0 = fma(vec4f(a4.y), c0y, part4_0);
        part4_0 = fma(vec4f(a4.z), c0z, part4_0);
        part4_0 = fma(vec4f(a4.w), c0w, part4_0);
        let a5 = subgroupBroadcast(own5, 2u);
        part5_0 = fma(vec4f(a5.x), c0x, part5_0);
        part5_0 = fma(vec4f(a5.y), c0y, part5_0);
        part5_0 = fma(vec4f(a5.z), c0z, part5_0);
        part5_0 = fma(vec4f(a5.w), c0w, part5_0);
        let a6 = subgroupBroadcast(own6, 2u);
        part6_0 = fma(vec4f(a6.x), c0x, part6_0);
        part6_0 = fma(vec4f(a6.y), c0y, part6_0);
        part6_0 = fma(vec4f(a6.z), c0z, part6_0);
        part6_0 = fma(vec4f(a6.w), c0w, part6_0);
        let a7 = subgroupBroadcast(own7, 2u);
        part7_0 = fma(vec4f(a7.x), c0x, part7_0);
        part7_0 = fma(vec4f(a7.y), c0y, part7_0);
        part7_0 = fma(vec4f(a7.z), c0z, part7_0);
        part7_0 = fma(vec4f(a7.w), c0w, part7_0);
        let a8 = subgroupBroadcast(own8, 2u);
        part8_0 = fma(vec4f(a8.x), c0x, part8_0);
        part8_0 = fma(vec4f(a8.y), c0y, part8_0);
        part8_0 = fma(vec4f(a8.z), c0z, part8_0);
        part8_0 = fma(vec4f(a8.w), c0w, part8_0);
        let a9 = subgroupBroadcast(own9, 2u);
        part9_0 = fma(vec4f(a9.x), c0x, part9_0);
        part9_0 = fma(vec4f(a9.y), c0y, part9_0);
        part9_0 = fma(vec4f(a9.z), c0z, part9_0);
        part9_0 = fma(vec4f(a9.w), c0w, part9_0);
        let a10 = subgroupBroadcast(own10, 2u);
        part10_0 = fma(vec4f(a10.x), c0x, part10_0);
        part10_0 = fma(vec4f(a10.y), c0y, part10_0);
        part10_0 = fma(vec4f(a10.z), c0z, part10_0);
        part10_0 = fma(vec4f(a10.w), c0w, part10_0);
        let a11 = subgroupBroadcast(own11, 2u);
        part11_0 = fma(vec4f(a11.x), c0x, part11_0);
        part11_0 = fma(vec4f(a11.y), c0y, part11_0);
        part11_0 = fma(vec4f(a11.z), c0z, part11_0);
        part11_0 = fma(vec4f(a11.w), c0w, part11_0);
        let a12 = subgroupBroadcast(own12, 2u);
        part12_0 = fma(vec4f(a12.x), c0x, part12_0);
        part12_0 = fma(vec4f(a12.y), c0y, part12_0);
        part12_0 = fma(vec4f(a12.z), c0z, part12_0);
        part12_0 = fma(vec4f(a12.w), c0w, part12_0);
        let a13 = subgroupBroadcast(own13, 2u);
        part13_0 = fma(vec4f(a13.x), c0x, part13_0);
        part13_0 = fma(vec4f(a13.y), c0y, part13_0);
        part13_0 = fma(vec4f(a13.z), c0z, part13_0);
        part13_0 = fma(vec4f(a13.w), c0w, part13_0);
        let a14 = subgroupBroadcast(own14, 2u);
        part14_0 = fma(vec4f(a14.x), c0x, part14_0);
        part14_0 = fma(vec4f(a14.y), c0y, part14_0);
        part14_0 = fma(vec4f(a14.z), c0z, part14_0);
        part14_0 = fma(vec4f(a14.w), c0w, part14_0);
        let a15 = subgroupBroadcast(own15, 2u);
        part15_0 = fma(vec4f(a15.x), c0x, part15_0);
        part15_0 = fma(vec4f(a15.y), c0y, part15_0);
        part15_0 = fma(vec4f(a15.z), c0z, part15_0);
        part15_0 = fma(vec4f(a15.w), c0w, part15_0);
      }
      {
        let b0 = load_weight(w0 + (k + 3u) * 8u + 0u);
        let b1 = load_weight(w0 + (k + 3u) * 8u + 1u);
        let b2 = load_weight(w0 + (k + 3u) * 8u + 2u);
        let b3 = load_weight(w0 + (k + 3u) * 8u + 3u);
        let c0x = vec4f(b0.x, b1.x, b2.x, b3.x);
        let c0y = vec4f(b0.y, b1.y, b2.y, b3.y);
        let c0z = vec4f(b0.z, b1.z, b2.z, b3.z);
        let c0w = vec4f(b0.w, b1.w, b2.w, b3.w);
        let a0 = subgroupBroadcast(own0, 3u);
        part0_0 = fma(vec4f(a0.x), c0x, part0_0);
        part0_0 = fma(vec4f(a0.y), c0y, part0_0);
        part0_0 = fma(vec4f(a0.z), c0z, part0_0);
        part0_0 = fma(vec4f(a0.w), c0w, part0_0);
        let a1 = subgroupBroadcast(own1, 3u);
        part1_0 = fma(vec4f(a1.x), c0x, part1_0);
        part1_0 = fma(vec4f(a1.y), c0y, part1_0);
        part1_0 = fma(vec4f(a1.z), c0z, part1_0);
        part1_0 = fma(vec4f(a1.w), c0w, part1_0);
        let a2 = subgroupBroadcast(own2, 3u);
        part2_0 = fma(vec4f(a2.x), c0x, part2_0);
        part2_0 = fma(vec4f(a2.y), c0y, part2_0);
        part2_0 = fma(vec4f(a2.z), c0z, part2_0);
        part2_0 = fma(vec4f(a2.w), c0w, part2_0);
        let a3 = subgroupBroadcast(own3, 3u);
        part3_0 = fma(vec4f(a3.x), c0x, part3_0);
        part3_0 = fma(vec4f(a3.y), c0y, part3_0);
        part3_0 = fma(vec4f(a3.z), c0z, part3_0);
        part3_0 = fma(vec4f(a3.w), c0w, part3_0);
        let a4 = subgroupBroadcast(own4, 3u);
        part4_0 = fma(vec4f(a4.x), c0x, part4_0);
        part4_0 = fma(vec4f(a4.y), c0y, part4_0);
        part4_0 = fma(vec4f(a4.z), c0z, part4_0);
        part4_0 = fma(vec4f(a4.w), c0w, part4_0);
        let a5 = subgroupBroadcast(own5, 3u);
        part5_0 = fma(vec4f(a5.x), c0x, part5_0);
        part5_0 = fma(vec4f(a5.y), c0y, part5_0);
        part5_0 = fma(vec4f(a5.z), c0z, part5_0);
        part5_0 = fma(vec4f(a5.w), c0w, part5_0);
        let a6 = subgroupBroadcast(own6, 3u);
        part6_0 = fma(vec4f(a6.x), c0x, part6_0);
        part6_0 = fma(vec4f(a6.y), c0y, part6_0);
        part6_0 = fma(vec4f(a6.z), c0z, part6_0);
        part6_0 = fma(vec4f(a6.w), c0w, part6_0);
        let a7 = subgroupBroadcast(own7, 3u);
        part7_0 = fma(vec4f(a7.x), c0x, part7_0);
        part7_0 = fma(vec4f(a7.y), c0y, part7_0);
        part7_0 = fma(vec4f(a7.z), c0z, part7_0);
        part7_0 = fma(vec4f(a7.w), c0w, part7_0);
        let a8 = subgroupBroadcast(own8, 3u);
        part8_0 = fma(vec4f(a8.x), c0x, part8_0);
        part8_0 = fma(vec4f(a8.y), c0y, part8_0);
        part8_0 = fma(vec4f(a8.z), c0z, part8_0);
        part8_0 = fma(vec4f(a8.w), c0w, part8_0);
        let a9 = subgroupBroadcast(own9, 3u);
        part9_0 = fma(vec4f(a9.x), c0x, part9_0);
        part9_0 = fma(vec4f(a9.y), c0y, part9_0);
        part9_0 = fma(vec4f(a9.z), c0z, part9_0);
        part9_0 = fma(vec4f(a9.w), c0w, part9_0);
        let a10 = subgroupBroadcast(own10, 3u);
        part10_0 = fma(vec4f(a10.x), c0x, part10_0);
        part10_0 = fma(vec4f(a10.y), c0y, part10_0);
        part10_0 = fma(vec4f(a10.z), c0z, part10_0);
        part10_0 = fma(vec4f(a10.w), c0w, part10_0);
        let a11 = subgroupBroadcast(own11, 3u);
        part11_0 = fma(vec4f(a11.x), c0x, part11_0);
        part11_0 = fma(vec4f(a11.y), c0y, part11_0);
        part11_0 = fma(vec4f(a11.z), c0z, part11_0);
        part11_0 = fma(vec4f(a11.w), c0w, part11_0);
        let a12 = subgroupBroadcast(own12, 3u);
        part12_0 = fma(vec4f(a12.x), c0x, part12_0);
        part12_0 = fma(vec4f(a12.y), c0y, part12_0);
        part12_0 = fma(vec4f(a12.z), c0z, part12_0);
        part12_0 = fma(vec4f(a12.w), c0w, part12_0);
        let a13 = subgroupBroadcast(own13, 3u);
        part13_0 = fma(vec4f(a13.x), c0x, part13_0);
        part13_0 = fma(vec4f(a13.y), c0y, part13_0);
        part13_0 = fma(vec4f(a13.z), c0z, part13_0);
        part13_0 = fma(vec4f(a13.w), c0w, part13_0);
        let a14 = subgroupBroadcast(own14, 3u);
        part14_0 = fma(vec4f(a14.x), c0x, part14_0);
        part14_0 = fma(vec4f(a14.y), c0y, part14_0);
        part14_0 = fma(vec4f(a14.z), c0z, part14_0);
        part14_0 = fma(vec4f(a14.w), c0w, part14_0);
        let a15 = subgroupBroadcast(own15, 3u);
        part15_0 = fma(vec4f(a15.x), c0x, part15_0);
        part15_0 = fma(vec4f(a15.y), c0y, part15_0);
        part15_0 = fma(vec4f(a15.z), c0z, part15_0);
        part15_0 = fma(vec4f(a15.w), c0w, part15_0);
      }
      {
        let b0 = load_weight(w0 + (k + 4u) * 8u + 0u);
        let b1 = load_weight(w0 + (k + 4u) * 8u + 1u);
        let b2 = load_weight(w0 + (k + 4u) * 8u + 2u);
        let b3 = load_weight(w0 + (k + 4u) * 8u + 3u);
        let c0x = vec4f(b0.x, b1.x, b2.x, b3.x);
        let c0y = vec4f(b0.y, b1.y, b2.y, b3.y);
        let c0z = vec4f(b0.z, b1.z, b2.z, b3.z);
        let c0w = vec4f(b0.w, b1.w, b2.w, b3.w);
        let a0 = subgroupBroadcast(own0, 4u);
        part0_0 = fma(vec4f(a0.x), c0x, part0_0);
        part0_0 = fma(vec4f(a0.y), c0y, part0_0);
        part0_0 = fma(vec4f(a0.z), c0z, part0_0);
        part0_0 = fma(vec4f(a0.w), c0w, part0_0);
        let a1 = subgroupBroadcast(own1, 4u);
        part1_0 = fma(vec4f(a1.x), c0x, part1_0);
        part1_0 = fma(vec4f(a1.y), c0y, part1_0);
        part1_0 = fma(vec4f(a1.z), c0z, part1_0);
        part1_0 = fma(vec4f(a1.w), c0w, part1_0);
        let a2 = subgroupBroadcast(own2, 4u);
        part2_0 = fma(vec4f(a2.x), c0x, part2_0);
        part2_0 = fma(vec4f(a2.y), c0y, part2_0);
        part2_0 = fma(vec4f(a2.z), c0z, part2_0);
        part2_0 = fma(vec4f(a2.w), c0w, part2_0);
        let a3 = subgroupBroadcast(own3, 4u);
        part3_0 = fma(vec4f(a3.x), c0x, part3_0);
        part3_0 = fma(vec4f(a3.y), c0y, part3_0);
        part3_0 = fma(vec4f(a3.z), c0z, part3_0);
        part3_0 = fma(vec4f(a3.w), c0w, part3_0);
        let a4 = subgroupBroadcast(own4, 4u);
        part4_0 = fma(vec4f(a4.x), c0x, part4_0);
        part4_0 = fma(vec4f(a4.y), c0y, part4_0);
        part4_0 = fma(vec4f(a4.z), c0z, part4_0);
        part4_0 = fma(vec4f(a4.w), c0w, part4_0);
        let a5 = subgroupBroadcast(own5, 4u);
        part5_0 = fma(vec4f(a5.x), c0x, part5_0);
        part5_0 = fma(vec4f(a5.y), c0y, part5_0);
        part5_0 = fma(vec4f(a5.z), c0z, part5_0);
        part5_0 = fma(vec4f(a5.w), c0w, part5_0);
        let a6 = subgroupBroadcast(own6, 4u);
        part6_0 = fma(vec4f(a6.x), c0x, part6_0);
        part6_0 = fma(vec4f(a6.y), c0y, part6_0);
        part6_0 = fma(vec4f(a6.z), c0z, part6_0);
        part6_0 = fma(vec4f(a6.w), c0w, part6_0);
        let a7 = subgroupBroadcast(own7, 4u);
        part7_0 = fma(vec4f(a7.x), c0x, part7_0);
        part7_0 = fma(vec4f(a7.y), c0y, part7_0);
        part7_0 = fma(vec4f(a7.z), c0z, part7_0);
        part7_0 = fma(vec4f(a7.w), c0w, part7_0);
        let a8 = subgroupBroadcast(own8, 4u);
        part8_0 = fma(vec4f(a8.x), c0x, part8_0);
        part8_0 = fma(vec4f(a8.y), c0y, part8_0);
        part8_0 = fma(vec4f(a8.z), c0z, part8_0);
        part8_0 = fma(vec4f(a8.w), c0w, part8_0);
        let a9 = subgroupBroadcast(own9, 4u);
        part9_0 = fma(vec4f(a9.x), c0x, part9_0);
        part9_0 = fma(vec4f(a9.y), c0y, part9_0);
        part9_0 = fma(vec4f(a9.z), c0z, part9_0);
        part9_0 = fma(vec4f(a9.w), c0w, part9_0);
        let a10 = subgroupBroadcast(own10, 4u);
        part10_0 = fma(vec4f(a10.x), c0x, part10_0);
        part10_0 = fma(vec4f(a10.y), c0y, part10_0);
        part10_0 = fma(vec4f(a10.z), c0z, part10_0);
        part10_0 = fma(vec4f(a10.w), c0w, part10_0);
        let a11 = subgroupBroadcast(own11, 4u);
        part11_0 = fma(vec4f(a11.x), c0x, part11_0);
        part11_0 = fma(vec4f(a11.y), c0y, part11_0);
        part11_0 = fma(vec4f(a11.z), c0z, part11_0);
        part11_0 = fma(vec4f(a11.w), c0w, part11_0);
        let a12 = subgroupBroadcast(own12, 4u);
        part12_0 = fma(vec4f(a12.x), c0x, part12_0);
        part12_0 = fma(vec4f(a12.y), c0y, part12_0);
        part12_0 = fma(vec4f(a12.z), c0z, part12_0);
        part12_0 = fma(vec4f(a12.w), c0w, part12_0);
        let a13 = subgroupBroadcast(own13, 4u);
        part13_0 = fma(vec4f(a13.x), c0x, part13_0);
        part13_0 = fma(vec4f(a13.y), c0y, part13_0);
        part13_0 = fma(vec4f(a13.z), c0z, part13_0);
        part13_0 = fma(vec4f(a13.w), c0w, part13_0);
        let a14 = subgroupBroadcast(own14, 4u);
        part14_0 = fma(vec4f(a14.x), c0x, part14_0);
        part14_0 = fma(vec4f(a14.y), c0y, part14_0);
        part14_0 = fma(vec4f(a14.z), c0z, part14_0);
        part14_0 = fma(vec4f(a14.w), c0w, part14_0);
        let a15 = subgroupBroadcast(own15, 4u);
        part15_0 = fma(vec4f(a15.x), c0x, part15_0);
        part15_0 = fma(vec4f(a15.y), c0y, part15_0);
        part15_0 = fma(vec4f(a15.z), c0z, part15_0);
        part15_0 = fma(vec4f(a15.w), c0w, part15_0);
      }
      {
        let b0 = load_weight(w0 + (k + 5u) * 8u + 0u);
        let b1 = load_weight(w0 + (k + 5u) * 8u + 1u);
        let b2 = load_weight(w0 + (k + 5u) * 8u + 2u);
        let b3 = load_weight(w0 + (k + 5u) * 8u + 3u);
        let c0x = vec4f(b0.x, b1.x, b2.x, b3.x);
        let c0y = vec4f(b0.y, b1.y, b2.y, b3.y);
        let c0z = vec4f(b0.z, b1.z, b2.z, b3.z);
        let c0w = vec4f(b0.w, b1.w, b2.w, b3.w);
        let a0 = subgroupBroadcast(own0, 5u);
        part0_0 = fma(vec4f(a0.x), c0x, part0_0);
        part0_0 = fma(vec4f(a0.y), c0y, part0_0);
        part0_0 = fma(vec4f(a0.z), c0z, part0_0);
        part0_0 = fma(vec4f(a0.w), c0w, part0_0);
        let a1 = subgroupBroadcast(own1, 5u);
        part1_0 = fma(vec4f(a1.x), c0x, part1_0);
        part1_0 = fma(vec4f(a1.y), c0y, part1_0);
        part1_0 = fma(vec4f(a1.z), c0z, part1_0);
        part1_0 = fma(vec4f(a1.w), c0w, part1_0);
        let a2 = subgroupBroadcast(own2, 5u);
        part2_0 = fma(vec4f(a2.x), c0x, part2_0);
        part2_0 = fma(vec4f(a2.y), c0y, part2_0);
        part2_0 = fma(vec4f(a2.z), c0z, part2_0);
        part2_0 = fma(vec4f(a2.w), c0w, part2_0);
        let a3 = subgroupBroadcast(own3, 5u);
        part3_0 = fma(vec4f(a3.x), c0x, part3_0);
        part3_0 = fma(vec4f(a3.y), c0y, part3_0);
        part3_0 = fma(vec4f(a3.z), c0z, part3_0);
        part3_0 = fma(vec4f(a3.w), c0w, part3_0);
        let a4 = subgroupBroadcast(own4, 5u);
        part4_0 = fma(vec4f(a4.x), c0x, part4_0);
        part4_0 = fma(vec4f(a4.y), c0y, part4_0);
        part4_0 = fma(vec4f(a4.z), c0z, part4_0);
        part4_0 = fma(vec4f(a4.w), c0w, part4_0);
        let a5 = subgroupBroadcast(own5, 5u);
        part5_0 = fma(vec4f(a5.x), c0x, part5_0);
        part5_0 = fma(vec4f(a5.y), c0y, part5_0);
        part5_0 = fma(vec4f(a5.z), c0z, part5_0);
        part5_0 = fma(vec4f(a5.w), c0w, part5_0);
        let a6 = subgroupBroadcast(own6, 5u);
        part6_0 = fma(vec4f(a6.x), c0x, part6_0);
        part6_0 = fma(vec4f(a6.y), c0y, part6_0);
        part6_0 = fma(vec4f(a6.z), c0z, part6_0);
        part6_0 = fma(vec4f(a6.w), c0w, part6_0);
        let a7 = subgroupBroadcast(own7, 5u);
        part7_0 = fma(vec4f(a7.x), c0x, part7_0);
        part7_0 = fma(vec4f(a7.y), c0y, part7_0);
        part7_0 = fma(vec4f(a7.z), c0z, part7_0);
        part7_0 = fma(vec4f(a7.w), c0w, part7_0);
        let a8 = subgroupBroadcast(own8, 5u);
        part8_0 = fma(vec4f(a8.x), c0x, part8_0);
        part8_0 = fma(vec4f(a8.y), c0y, part8_0);
        part8_0 = fma(vec4f(a8.z), c0z, part8_0);
        part8_0 = fma(vec4f(a8.w), c0w, part8_0);
        let a9 = subgroupBroadcast(own9, 5u);
        part9_0 = fma(vec4f(a9.x), c0x, part9_0);
        part9_0 = fma(vec4f(a9.y), c0y, part9_0);
        part9_0 = fma(vec4f(a9.z), c0z, part9_0);
        part9_0 = fma(vec4f(a9.w), c0w, part9_0);
        let a10 = subgroupBroadcast(own10, 5u);
        part10_0 = fma(vec4f(a10.x), c0x, part10_0);
        part10_0 = fma(vec4f(a10.y), c0y, part10_0);
        part10_0 = fma(vec4f(a10.z), c0z, part10_0);
        part10_0 = fma(vec4f(a10.w), c0w, part10_0);
        let a11 = subgroupBroadcast(own11, 5u);
        part11_0 = fma(vec4f(a11.x), c0x, part11_0);
        part11_0 = fma(vec4f(a11.y), c0y, part11_0);
        part11_0 = fma(vec4f(a11.z), c0z, part11_0);
        part11_0 = fma(vec4f(a11.w), c0w, part11_0);
        let a12 = subgroupBroadcast(own12, 5u);
        part12_0 = fma(vec4f(a12.x), c0x, part12_0);
        part12_0 = fma(vec4f(a12.y), c0y, part12_0);
        part12_0 = fma(vec4f(a12.z), c0z, part12_0);
        part12_0 = fma(vec4f(a12.w), c0w, part12_0);
        let a13 = subgroupBroadcast(own13, 5u);
        part13_0 = fma(vec4f(a13.x), c0x, part13_0);
        part13_0 = fma(vec4f(a13.y), c0y, part13_0);
        part13_0 = fma(vec4f(a13.z), c0z, part13_0);
        part13_0 = fma(vec4f(a13.w), c0w, part13_0);
        let a14 = subgroupBroadcast(own14, 5u);
        part14_0 = fma(vec4f(a14.x), c0x, part14_0);
        part14_0 = fma(vec4f(a14.y), c0y, part14_0);
        part14_0 = fma(vec4f(a14.z), c0z, part14_0);
        part14_0 = fma(vec4f(a14.w), c0w, part14_0);
        let a15 = subgroupBroadcast(own15, 5u);
        part15_0 = fma(vec4f(a15.x), c0x, part15_0);
        part15_0 = fma(vec4f(a15.y), c0y, part15_0);
        part15_0 = fma(vec4f(a15.z), c0z, part15_0);
        part15_0 = fma(vec4f(a15.w), c0w, part15_0);
      }
      {
        let b0 = load_weight(w0 + (k + 6u) * 8u + 0u);
        let b1 = load_weight(w0 + (k + 6u) * 8u + 1u);
        let b2 = load_weight(w0 + (k + 6u) * 8u + 2u);
        let b3 = load_weight(w0 + (k + 6u) * 8u + 3u);
        let c0x = vec4f(b0.x, b1.x, b2.x, b3.x);
        let c0y = vec4f(b0.y, b1.y, b2.y, b3.y);
        let c0z = vec4f(b0.z, b1.z, b2.z, b3.z);
        let c0w = vec4f(b0.w, b1.w, b2.w, b3.w);
        let a0 = subgroupBroadcast(own0, 6u);
        part0_0 = fma(vec4f(a0.x), c0x, part0_0);
        part0_0 = fma(vec4f(a0.y), c0y, part0_0);
        part0_0 = fma(vec4f(a0.z), c0z, part0_0);
        part0_0 = fma(vec4f(a0.w), c0w, part0_0);
        let a1 = subgroupBroadcast(own1, 6u);
        part1_0 = fma(vec4f(a1.x), c0x, part1_0);
        part1_0 = fma(vec4f(a1.y), c0y, part1_0);
        part1_0 = fma(vec4f(a1.z), c0z, part1_0);
        part1_0 = fma(vec4f(a1.w), c0w, part1_0);
        let a2 = subgroupBroadcast(own2, 6u);
        part2_0 = fma(vec4f(a2.x), c0x, part2_0);
        part2_0 = fma(vec4f(a2.y), c0y, part2_0);
        part2_0 = fma(vec4f(a2.z), c0z, part2_0);
        part2_0 = fma(vec4f(a2.w), c0w, part2_0);
        let a3 = subgroupBroadcast(own3, 6u);
        part3_0 = fma(vec4f(a3.x), c0x, part3_0);
        part3_0 = fma(vec4f(a3.y), c0y, part3_0);
        part3_0 = fma(vec4f(a3.z), c0z, part3_0);
        part3_0 = fma(vec4f(a3.w), c0w, part3_0);
        let a4 = subgroupBroadcast(own4, 6u);
        part4_0 = fma(vec4f(a4.x), c0x, part4_0);
        part4_0 = fma(vec4f(a4.y), c0y, part4_0);
        part4_0 = fma(vec4f(a4.z), c0z, part4_0);
        part4_0 = fma(vec4f(a4.w), c0w, part4_0);
        let a5 = subgroupBroadcast(own5, 6u);
        part5_0 = fma(vec4f(a5.x), c0x, part5_0);
        part5_0 = fma(vec4f(a5.y), c0y, part5_0);
        part5_0 = fma(vec4f(a5.z), c0z, part5_0);
        part5_0 = fma(vec4f(a5.w), c0w, part5_0);
        let a6 = subgroupBroadcast(own6, 6u);
        part6_0 = fma(vec4f(a6.x), c0x, part6_0);
        part6_0 = fma(vec4f(a6.y), c0y, part6_0);
        part6_0 = fma(vec4f(a6.z), c0z, part6_0);
        part6_0 = fma(vec4f(a6.w), c0w, part6_0);
        let a7 = subgroupBroadcast(own7, 6u);
        part7_0 = fma(vec4f(a7.x), c0x, part7_0);
        part7_0 = fma(vec4f(a7.y), c0y, part7_0);
        part7_0 = fma(vec4f(a7.z), c0z, part7_0);
        part7_0 = fma(vec4f(a7.w), c0w, part7_0);
        let a8 = subgroupBroadcast(own8, 6u);
        part8_0 = fma(vec4f(a8.x), c0x, part8_0);
        part8_0 = fma(vec4f(a8.y), c0y, part8_0);
        part8_0 = fma(vec4f(a8.z), c0z, part8_0);
        part8_0 = fma(vec4f(a8.w), c0w, part8_0);
        let a9 = subgroupBroadcast(own9, 6u);
        part9_0 = fma(vec4f(a9.x), c0x, part9_0);
        part9_0 = fma(vec4f(a9.y), c0y, part9_0);
        part9_0 = fma(vec4f(a9.z), c0z, part9_0);
        part9_0 = fma(vec4f(a9.w), c0w, part9_0);
        let a10 = subgroupBroadcast(own10, 6u);
        part10_0 = fma(vec4f(a10.x), c0x, part10_0);
        part10_0 = fma(vec4f(a10.y), c0y, part10_0);
        part10_0 = fma(vec4f(a10.z), c0z, part10_0);
        part10_0 = fma(vec4f(a10.w), c0w, part10_0);
        let a11 = subgroupBroadcast(own11, 6u);
        part11_0 = fma(vec4f(a11.x), c0x, part11_0);
        part11_0 = fma(vec4f(a11.y), c0y, part11_0);
        part11_0 = fma(vec4f(a11.z), c0z, part11_0);
        part11_0 = fma(vec4f(a11.w), c0w, part11_0);
        let a12 = subgroupBroadcast(own12, 6u);
        part12_0 = fma(vec4f(a12.x), c0x, part12_0);
        part12_0 = fma(vec4f(a12.y), c0y, part12_0);
        part12_0 = fma(vec4f(a12.z), c0z, part12_0);
        part12_0 = fma(vec4f(a12.w), c0w, part12_0);
        let a13 = subgroupBroadcast(own13, 6u);
        part13_0 = fma(vec4f(a13.x), c0x, part13_0);
        part13_0 = fma(vec4f(a13.y), c0y, part13_0);
        part13_0 = fma(vec4f(a13.z), c0z, part13_0);
        part13_0 = fma(vec4f(a13.w), c0w, part13_0);
        let a14 = subgroupBroadcast(own14, 6u);
        part14_0 = fma(vec4f(a14.x), c0x, part14_0);
        part14_0 = fma(vec4f(a14.y), c0y, part14_0);
        part14_0 = fma(vec4f(a14.z), c0z, part14_0);
        part14_0 = fma(vec4f(a14.w), c0w, part14_0);
        let a15 = subgroupBroadcast(own15, 6u);
        part15_0 = fma(vec4f(a15.x), c0x, part15_0);
        part15_0 = fma(vec4f(a15.y), c0y, part15_0);
        part15_0 = fma(vec4f(a15.z), c0z, part15_0);
        part15_0 = fma(vec4f(a15.w), c0w, part15_0);
      }
      {
        let b0 = load_weight(w0 + (k + 7u) * 8u + 0u);
        let b1 = load_weight(w0 + (k + 7u) * 8u + 1u);
        let b2 = load_weight(w0 + (k + 7u) * 8u + 2u);
        let b3 = load_weight(w0 + (k + 7u) * 8u + 3u);
        let c0x = vec4f(b0.x, b1.x, b2.x, b3.x);
        let c0y = vec4f(b0.y, b1.y, b2.y, b3.y);
        let c0z = vec4f(b0.z, b1.z, b2.z, b3.z);
        let c0w = vec4f(b0.w, b1.w, b2.w, b3.w);
        let a0 = subgroupBroadcast(own0, 7u);
        part0_0 = fma(vec4f(a0.x), c0x, part0_0);
        part0_0 = fma(vec4f(a0.y), c0y, part0_0);
        part0_0 = fma(vec4f(a0.z), c0z, part0_0);
        part0_0 = fma(vec4f(a0.w), c0w, part0_0);
        let a1 = subgroupBroadcast(own1, 7u);
        part1_0 = fma(vec4f(a1.x), c0x, part1_0);
        part1_0 = fma(vec4f(a1.y), c0y, part1_0);
        part1_0 = fma(vec4f(a1.z), c0z, part1_0);
        part1_0 = fma(vec4f(a1.w), c0w, part1_0);
        let a2 = subgroupBroadcast(own2, 7u);
        part2_0 = fma(vec4f(a2.x), c0x, part2_0);
        part2_0 = fma(vec4f(a2.y), c0y, part2_0);
        part2_0 = fma(vec4f(a2.z), c0z, part2_0);
        part2_0 = fma(vec4f(a2.w), c0w, part2_0);
        let a3 = subgroupBroadcast(own3, 7u);
        part3_0 = fma(vec4f(a3.x), c0x, part3_0);
        part3_0 = fma(vec4f(a3.y), c0y, part3_0);
        part3_0 = fma(vec4f(a3.z), c0z, part3_0);
        part3_0 = fma(vec4f(a3.w), c0w, part3_0);
        let a4 = subgroupBroadcast(own4, 7u);
        part4_0 = fma(vec4f(a4.x), c0x, part4_0);
        part4_0 = fma(vec4f(a4.y), c0y, part4_0);
        part4_0 = fma(vec4f(a4.z), c0z, part4_0);
        part4_0 = fma(vec4f(a4.w), c0w, part4_0);
        let a5 = subgroupBroadcast(own5, 7u);
        part5_0 = fma(vec4f(a5.x), c0x, part5_0);
        part5_0 = fma(vec4f(a5.y), c0y, part5_0);
        part5_0 = fma(vec4f(a5.z), c0z, part5_0);
        part5_0 = fma(vec4f(a5.w), c0w, part5_0);
        let a6 = subgroupBroadcast(own6, 7u);
        part6_0 = fma(vec4f(a6.x), c0x, part6_0);
        part6_0 = fma(vec4f(a6.y), c0y, part6_0);
        part6_0 = fma(vec4f(a6.z), c0z, part6_0);
        part6_0 = fma(vec4f(a6.w), c0w, part6_0);
        let a7 = subgroupBroadcast(own7, 7u);
        part7_0 = fma(vec4f(a7.x), c0x, part7_0);
        part7_0 = fma(vec4f(a7.y), c0y, part7_0);
        part7_0 = fma(vec4f(a7.z), c0z, part7_0);
        part7_0 = fma(vec4f(a7.w), c0w, part7_0);
        let a8 = subgroupBroadcast(own8, 7u);
        part8_0 = fma(vec4f(a8.x), c0x, part8_0);
        part8_0 = fma(vec4f(a8.y), c0y, part8_0);
        part8_0 = fma(vec4f(a8.z), c0z, part8_0);
        part8_0 = fma(vec4f(a8.w), c0w, part8_0);
        let a9 = subgroupBroadcast(own9, 7u);
        part9_0 = fma(vec4f(a9.x), c0x, part9_0);
        part9_0 = fma(vec4f(a9.y), c0y, part9_0);
        part9_0 = fma(vec4f(a9.z), c0z, part9_0);
        part9_0 = fma(vec4f(a9.w), c0w, part9_0);
        let a10 = subgroupBroadcast(own10, 7u);
        part10_0 = fma(vec4f(a10.x), c0x, part10_0);
        part10_0 = fma(vec4f(a10.y), c0y, part10_0);
        part10_0 = fma(vec4f(a10.z), c0z, part10_0);
        part10_0 = fma(vec4f(a10.w), c0w, part10_0);
        let a11 = subgroupBroadcast(own11, 7u);
        part11_0 = fma(vec4f(a11.x), c0x, part11_0);
        part11_0 = fma(vec4f(a11.y), c0y, part11_0);
        part11_0 = fma(vec4f(a11.z), c0z, part11_0);
        part11_0 = fma(vec4f(a11.w), c0w, part11_0);
        let a12 = subgroupBroadcast(own12, 7u);
        part12_0 = fma(vec4f(a12.x), c0x, part12_0);
        part12_0 = fma(vec4f(a12.y), c0y, part12_0);
        part12_0 = fma(vec4f(a12.z), c0z, part12_0);
        part12_0 = fma(vec4f(a12.w), c0w, part12_0);
        let a13 = subgroupBroadcast(own13, 7u);
        part13_0 = fma(vec4f(a13.x), c0x, part13_0);
        part13_0 = fma(vec4f(a13.y), c0y, part13_0);
        part13_0 = fma(vec4f(a13.z), c0z, part13_0);
        part13_0 = fma(vec4f(a13.w), c0w, part13_0);
        let a14 = subgroupBroadcast(own14, 7u);
        part14_0 = fma(vec4f(a14.x), c0x, part14_0);
        part14_0 = fma(vec4f(a14.y), c0y, part14_0);
        part14_0 = fma(vec4f(a14.z), c0z, part14_0);
        part14_0 = fma(vec4f(a14.w), c0w, part14_0);
        let a15 = subgroupBroadcast(own15, 7u);
        part15_0 = fma(vec4f(a15.x), c0x, part15_0);
        part15_0 = fma(vec4f(a15.y), c0y, part15_0);
        part15_0 = fma(vec4f(a15.z), c0z, part15_0);
        part15_0 = fma(vec4f(a15.w), c0w, part15_0);
      }
    }
    sum0_0 += part0_0;
    sum1_0 += part1_0;
    sum2_0 += part2_0;
    sum3_0 += part3_0;
    sum4_0 += part4_0;
    sum5_0 += part5_0;
    sum6_0 += part6_0;
    sum7_0 += part7_0;
    sum8_0 += part8_0;
    sum9_0 += part9_0;
    sum10_0 += part10_0;
    sum11_0 += part11_0;
    sum12_0 += part12_0;
    sum13_0 += part13_0;
    sum14_0 += part14_0;
    sum15_0 += part15_0;
  }
  if (row > last) {
    return;
  }

  // A row at a time: few stores keep the shader quick to compile.
  for (var r = 0u; r < min(16u, dims.T - row); r++) {
    var sum0 = sum0_0;
    switch r {
      case 1u: { sum0 = sum1_0; }
      case 2u: { sum0 = sum2_0; }
      case 3u: { sum0 = sum3_0; }
      case 4u: { sum0 = sum4_0; }
      case 5u: { sum0 = sum5_0; }
      case 6u: { sum0 = sum6_0; }
      case 7u: { sum0 = sum7_0; }
      case 8u: { sum0 = sum8_0; }
      case 9u: { sum0 = sum9_0; }
      case 10u: { sum0 = sum10_0; }
      case 11u: { sum0 = sum11_0; }
      case 12u: { sum0 = sum12_0; }
      case 13u: { sum0 = sum13_0; }
      case 14u: { sum0 = sum14_0; }
      case 15u: { sum0 = sum15_0; }
      default: {}
    }
    store(row + r, group0, sum0);
  }
}
