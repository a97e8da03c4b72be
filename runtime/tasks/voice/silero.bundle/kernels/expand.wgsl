// Expand [1] to [1].
//
// main, 1 dispatch:
//   /decoder/rnn/LSTM
// reads x0 i64[1]
// writes out i64[1]
// at most 20 B moved, 1 FLOP a dispatch

@group(0) @binding(0) var<storage, read> x0: array<i32>;
@group(0) @binding(1) var<storage, read_write> out: array<i32>;

fn load_x0(i: u32) -> i32 {
  return x0[i];
}

fn store_out(i: u32, value: i32) {
  out[i] = value;
}

fn element(i: u32) -> i32 {
  let t0 = load_x0(0u);
  return t0;
}

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let i = id.x;
  if (i == 0u) {
    store_out(i, element(i));
  }
}
