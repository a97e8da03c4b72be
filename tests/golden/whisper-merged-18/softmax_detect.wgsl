// Softmax along one axis, an invocation for each row.
//
// detect, 1 dispatch:
//   /proj_out/MatMul
// reads x f32[1,1,5]
// writes out f32[1,1,5]
// at most 40 B moved, 0 FLOP a dispatch

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> out: array<f32>;

fn load_x(i: u32) -> f32 {
  return x[i];
}

fn store_out(i: u32, value: f32) {
  out[i] = value;
}

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let i = id.x;
  if (i >= 1u) {
    return;
  }
  let first = 0u;
  var highest = -3.4028234663852886e38;
  for (var j = 0u; j < 5u; j++) {
    highest = max(highest, load_x(first + j));
  }
  var sum = 0.0;
  for (var j = 0u; j < 5u; j++) {
    sum += exp(load_x(first + j) - highest);
  }
  for (var j = 0u; j < 5u; j++) {
    let x = load_x(first + j) - highest;
    store_out(first + j, exp(x) / sum);
  }
}
