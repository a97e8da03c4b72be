// RMSNorm, then matrix times vector: y[n] = norm(x) . weight[n], each invocation 8 outputs.
// Fused: y = acc * sigmoid(acc) * acc1.
//
// step, 2 dispatches:
//   /model/layers.0/post_attention_layernorm/Pow, /model/layers.0/post_attention_layernorm/ReduceMean,
//     /model/layers.0/post_attention_layernorm/Add, /model/layers.0/post_attention_layernorm/Sqrt, +8
//   /model/layers.1/post_attention_layernorm/Pow, /model/layers.1/post_attention_layernorm/ReduceMean,
//     /model/layers.1/post_attention_layernorm/Add, /model/layers.1/post_attention_layernorm/Sqrt, +8
// variant 'rows8' for matvec_rmsnorm_gate 48x80
// reads weight f32[160,48], weight1 f32[160,48], x f32[1,1,48], gamma f32[48]
// writes y f32[1,1,80]
// at most 31.4 kB moved, 15.4 kFLOP a dispatch

@group(0) @binding(0) var weight: texture_storage_2d<rgba32float, read>;
@group(0) @binding(1) var weight1: texture_storage_2d<rgba32float, read>;
@group(0) @binding(2) var x: texture_storage_2d<rgba32float, read>;
@group(0) @binding(3) var gamma: texture_2d<f32>;
@group(0) @binding(4) var y: texture_storage_2d<rgba32float, write>;

fn load_weight(i: u32) -> vec4f {
  return textureLoad(weight, vec2u(i % 1024u, i / 1024u));
}

fn load_weight1(i: u32) -> vec4f {
  return textureLoad(weight1, vec2u(i % 1024u, i / 1024u));
}

fn load_x(i: u32) -> vec4f {
  return textureLoad(x, vec2u(i % 16u, i / 16u));
}

fn load_gamma(i: u32) -> vec4f {
  return textureLoad(gamma, vec2u(i % 16u, i / 16u), 0);
}

fn store_y(i: u32, value: vec4f) {
  textureStore(y, vec2u(i % 32u, i / 32u), value);
}

const K4 = 12u;  // vec4s in x
const ROW = K4;  // texels in a row of the weight
const GROUPS = 20u;  // groups of 4 rows in the weight, which is packed [n/8][ROW][8]

fn store(group: u32, sum: vec4f, sum1: vec4f) {
  if (group >= GROUPS) {
    return;
  }
  let n = group;  // vec4 of a row
  let acc = sum;
  let acc1 = sum1;
  let t0 = 1.0 / (1.0 + exp(-acc));
  let t1 = acc * t0;
  let t2 = t1 * acc1;
  store_y(n, t2);
}

@compute @workgroup_size(8, 1, 1)
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let group0 = workgroup.x * 16u + local.x;
  let w0 = min(group0, GROUPS - 1u) / 2u * ROW * 8u + group0 % 2u * 4u;
  let group1 = workgroup.x * 16u + local.x;
  let w1 = min(group1, GROUPS - 1u) / 2u * ROW * 8u + group1 % 2u * 4u;
  let group2 = workgroup.x * 16u + 8u + local.x;
  let w2 = min(group2, GROUPS - 1u) / 2u * ROW * 8u + group2 % 2u * 4u;
  let group3 = workgroup.x * 16u + 8u + local.x;
  let w3 = min(group3, GROUPS - 1u) / 2u * ROW * 8u + group3 % 2u * 4u;
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
  var sum2 = vec4f();
  var sum3 = vec4f();
  for (var k = 0u; k < K4; k++) {
    let a = load_x(k) * scale * load_gamma(k);
    sum0 += vec4f(
      dot(a, load_weight(w0 + k * 8u)),
      dot(a, load_weight(w0 + k * 8u + 1u)),
      dot(a, load_weight(w0 + k * 8u + 2u)),
      dot(a, load_weight(w0 + k * 8u + 3u)),
    );
    sum1 += vec4f(
      dot(a, load_weight1(w1 + k * 8u)),
      dot(a, load_weight1(w1 + k * 8u + 1u)),
      dot(a, load_weight1(w1 + k * 8u + 2u)),
      dot(a, load_weight1(w1 + k * 8u + 3u)),
    );
    sum2 += vec4f(
      dot(a, load_weight(w2 + k * 8u)),
      dot(a, load_weight(w2 + k * 8u + 1u)),
      dot(a, load_weight(w2 + k * 8u + 2u)),
      dot(a, load_weight(w2 + k * 8u + 3u)),
    );
    sum3 += vec4f(
      dot(a, load_weight1(w3 + k * 8u)),
      dot(a, load_weight1(w3 + k * 8u + 1u)),
      dot(a, load_weight1(w3 + k * 8u + 2u)),
      dot(a, load_weight1(w3 + k * 8u + 3u)),
    );
  }

  store(group0, sum0, sum1);
  store(group2, sum2, sum3);
}
