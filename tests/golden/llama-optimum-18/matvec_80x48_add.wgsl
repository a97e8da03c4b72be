// Matrix times vector: y[n] = x . weight[n], each invocation 8 outputs.
// Fused: y = x3 + acc.
//
// step, 2 dispatches:
//   /model/layers.0/mlp/down_proj/MatMul, /model/layers.0/Add_1
//   /model/layers.1/mlp/down_proj/MatMul, /model/layers.1/Add_1
// variant 'rows8' for matvec 80x48
// reads weight f32[48,80], x f32[1,1,80], x3 f32[1,1,48]
// writes y f32[1,1,48]
// at most 16.1 kB moved, 7.68 kFLOP a dispatch

@group(0) @binding(0) var weight: texture_storage_2d<rgba32float, read>;
@group(0) @binding(1) var x: texture_storage_2d<rgba32float, read>;
@group(0) @binding(2) var x3: texture_storage_2d<rgba32float, read>;
@group(0) @binding(3) var y: texture_storage_2d<rgba32float, write>;

fn load_weight(i: u32) -> vec4f {
  return textureLoad(weight, vec2u(i % 1024u, i / 1024u));
}

fn load_x(i: u32) -> vec4f {
  return textureLoad(x, vec2u(i % 32u, i / 32u));
}

fn load_x3(i: u32) -> vec4f {
  return textureLoad(x3, vec2u(i % 16u, i / 16u));
}

fn store_y(i: u32, value: vec4f) {
  textureStore(y, vec2u(i % 16u, i / 16u), value);
}

const K4 = 20u;  // vec4s in x
const ROW = K4;  // texels in a row of the weight
const GROUPS = 12u;  // groups of 4 rows in the weight, which is packed [n/8][ROW][8]

fn store(group: u32, sum: vec4f) {
  if (group >= GROUPS) {
    return;
  }
  let n = group;  // vec4 of a row
  let i = n;  // vec4 of the result
  let acc = sum;
  let t0 = load_x3(i) + acc;
  store_y(n, t0);
}

@compute @workgroup_size(8, 1, 1)
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let group0 = workgroup.x * 16u + local.x;
  let w0 = min(group0, GROUPS - 1u) / 2u * ROW * 8u + group0 % 2u * 4u;
  let group1 = workgroup.x * 16u + 8u + local.x;
  let w1 = min(group1, GROUPS - 1u) / 2u * ROW * 8u + group1 % 2u * 4u;
  // Unrolled, so that sums stay in registers: sumG is the 4 numbers of group G. It stands for
  //   for (k) for (G) for (J) sumG[J] += dot(x[k], weight[4 groupG + J][k]);
  var sum0 = vec4f();
  var sum1 = vec4f();
  for (var k = 0u; k < K4; k++) {
    let a = load_x(k);
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

  store(group0, sum0);
  store(group1, sum1);
}
