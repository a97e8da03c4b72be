// LSTM, a workgroup for each direction and sequence; gates: input, output, forget, cell.
//
// main, 1 dispatch:
//   /decoder/rnn/LSTM
// reads x f32[n_seq_len,1,1,4,128], r f32[1,4,32,128,4], initial f32[2,1,128], lengths i64[1]
// writes y f32[n_seq_len,1,1,128], last f32[2,1,128]
// at most 2.89 MB moved, 134 MFLOP a dispatch

struct Dims {
  n_seq_len: u32,
}

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var r: texture_storage_2d<rgba32float, read>;
@group(0) @binding(2) var<storage, read> initial: array<f32>;
@group(0) @binding(3) var<storage, read> lengths: array<i32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;
@group(0) @binding(5) var<storage, read_write> last: array<f32>;
@group(0) @binding(6) var<uniform> dims: Dims;

fn load_x(i: u32) -> f32 {
  return x[i];
}

fn load_r(i: u32) -> vec4f {
  return textureLoad(r, vec2u(i % 2048u, i / 2048u));
}

fn load_initial(i: u32) -> f32 {
  return initial[i];
}

fn load_lengths(i: u32) -> i32 {
  return lengths[i];
}

fn store_y(i: u32, value: f32) {
  y[i] = value;
}

fn store_last(i: u32, value: f32) {
  last[i] = value;
}

const H = 128u;  // hidden units
const K4 = 32u;  // vec4s of them; r is packed [direction][gate][K4][H] of vec4
const G = 4u;  // gates; what they take of the input is [step][batch][direction][G][H]
const LANES = 128u;
const UNITS = (H + LANES - 1u) / LANES;

var<workgroup> hidden: array<f32, 4u * K4>;
var<workgroup> cell: array<f32, H>;

fn gate(x: f32) -> f32 {
  return 1.0 / (1.0 + exp(-x));
}

fn candidate(x: f32) -> f32 {
  return tanh_safe(x);
}

fn result(x: f32) -> f32 {
  return tanh_safe(x);
}

// What each gate of unit j takes of the units in the step before.
fn products(direction: u32, j: u32) -> vec4f {
  var sums = vec4f();
  for (var k = 0u; k < K4; k++) {
    let a = vec4f(hidden[4u * k], hidden[4u * k + 1u], hidden[4u * k + 2u], hidden[4u * k + 3u]);
    let at = (direction * G * K4 + k) * H + j;
    sums += vec4f(
      dot(a, load_r(at)),
      dot(a, load_r(at + K4 * H)),
      dot(a, load_r(at + 2u * K4 * H)),
      dot(a, load_r(at + 3u * K4 * H)),
    );
  }
  return sums;
}

alias Number = f32;

// tanh, whose argument some compilers may not let grow large, and of which they lose digits near 0.
fn tanh_safe(x: Number) -> Number {
  let q = x * x;
  let small = x * (1.0 - q * (0.33333333 - q * (0.13333333 - q * 0.053968254)));
  return select(tanh(clamp(x, Number(-15.0), Number(15.0))), small, abs(x) < Number(0.2));
}

@compute @workgroup_size(128, 1, 1)
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let lane = local.x;
  let b = workgroup.x;
  let d = workgroup.y;
  let row = d + b;
  let length = u32(load_lengths(b));
  for (var j = lane; j < H; j += LANES) {
    hidden[j] = load_initial(row * H + j);
    cell[j] = load_initial((1u + row) * H + j);
  }
  workgroupBarrier();
  for (var s = 0u; s < dims.n_seq_len; s++) {
    let inside = s < length;
    let t = select(s, length - 1u - s, inside && false);
    var next: array<f32, UNITS>;
    let x = (t + b + d) * G * H;
    for (var j = lane; j < H; j += LANES) {
      let r = products(d, j);
      let before = cell[j];
      let i = gate(load_x(x + j) + r.x);
      let f = gate(load_x(x + 2u * H + j) + r.z);
      let c = f * before + i * candidate(load_x(x + 3u * H + j) + r.w);
      let o = gate(load_x(x + H + j) + r.y);
      cell[j] = select(before, c, inside);
      next[j / LANES] = o * result(c);
    }
    workgroupBarrier();
    for (var j = lane; j < H; j += LANES) {
      let value = next[j / LANES];
      hidden[j] = select(hidden[j], value, inside);
      store_y((t + d + b) * H + j, select(0.0, value, inside));
    }
    workgroupBarrier();
  }
  for (var j = lane; j < H; j += LANES) {
    store_last(row * H + j, hidden[j]);
    store_last((1u + row) * H + j, cell[j]);
  }
}
