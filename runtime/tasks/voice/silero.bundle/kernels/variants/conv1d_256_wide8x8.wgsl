// Convolution of 256 windows, stride 128, each invocation 5 x 8 results: neighbours along the last axis, and channels.
//
// main, 1 dispatch:
//   /encoder/feature_extractor/Conv
// variant 'wide8x8' for conv1d_256_by128 1x5x258
// reads x f32[n_seq_len,1,832], w f32[68,1,256,4]
// writes out f32[n_seq_len,258,5]
// at most 8.97 MB moved, 676 MFLOP a dispatch

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var w: texture_storage_2d<rgba32float, read>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;

fn load_x(i: u32) -> f32 {
  return x[i];
}

fn load_w(i: u32) -> vec4f {
  return textureLoad(w, vec2u(i % 2048u, i / 2048u));
}

fn store_out(i: u32, value: f32) {
  out[i] = value;
}

const C = 1u;  // channels of x in a group
const TAPS = 256u;  // of a window; the weight is packed [channel / 4][C][TAPS] of vec4f

fn source0(o: u32, k: u32) -> i32 {
  let at = i32(o * 128u + k);
  return select(-1, at, at < i32(832u));
}

fn x_at(channel: u32, p0: i32) -> f32 {
  let at = channel * 832u + u32(max(p0, 0));
  let inside = p0 >= 0;
  return select(f32(), load_x(at), inside);
}

// Finish the result in channel n (bias, fused tail) and put it where it belongs.
fn store(batch: u32, n: u32, at: u32, sum: f32) {
  let i = (batch * 258u + n) * 5u + at;
  let acc = sum;
  store_out(i, acc);
}

fn store_channels(batch: u32, m: u32, at: u32, sum: vec4f) {
  for (var j = 0u; j < 4u && m + j < 258u; j++) {
    store(batch, m + j, at, sum[j]);
  }
}

@compute @workgroup_size(8, 8, 1)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let place = id.x;
  let tile = id.y;
  let batch = id.z;
  if (place >= 1u || tile >= 33u) {
    return;
  }
  let o0 = 0u;
  // Unrolled, so that sums stay in registers: sumI_V is result I of the row, group V of 4 channels; aN is
  // element N of x, of those that the results share, wT_V the weight of tap T for group V. It stands for
  //   for (c) for (T) for (I) for (V) sumI_V += wT_V * x[I * stride + T];
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
  let first = batch;  // channel of x
  var w_at = tile * 2u * C * TAPS;
  for (var c = first; c < first + C; c++) {
    for (var k0 = 0u; k0 < 256u; k0++) {
      let p0_0 = source0(o0, k0);
      let p0_1 = source0(o0 + 1u, k0);
      let p0_2 = source0(o0 + 2u, k0);
      let p0_3 = source0(o0 + 3u, k0);
      let p0_4 = source0(o0 + 4u, k0);
      let a0 = x_at(c, p0_0);
      let a1 = x_at(c, p0_1);
      let a2 = x_at(c, p0_2);
      let a3 = x_at(c, p0_3);
      let a4 = x_at(c, p0_4);
      let w0_0 = load_w(w_at);
      let w0_1 = load_w(w_at + C * TAPS);
      sum0_0 += w0_0 * a0;
      sum0_1 += w0_1 * a0;
      sum1_0 += w0_0 * a1;
      sum1_1 += w0_1 * a1;
      sum2_0 += w0_0 * a2;
      sum2_1 += w0_1 * a2;
      sum3_0 += w0_0 * a3;
      sum3_1 += w0_1 * a3;
      sum4_0 += w0_0 * a4;
      sum4_1 += w0_1 * a4;
      w_at++;
    }
  }
  let m = tile * 8u;
  let at = 0u;
  // A result at a time: few stores keep the shader quick to compile.
  for (var r = 0u; r < min(5u, 5u - o0); r++) {
    var sum0 = sum0_0;
    var sum1 = sum0_1;
    switch r {
      case 1u: { sum0 = sum1_0; sum1 = sum1_1; }
      case 2u: { sum0 = sum2_0; sum1 = sum2_1; }
      case 3u: { sum0 = sum3_0; sum1 = sum3_1; }
      case 4u: { sum0 = sum4_0; sum1 = sum4_1; }
      default: {}
    }
    store_channels(batch, m, at + r, sum0);
    store_channels(batch, m + 4u, at + r, sum1);
  }
}
