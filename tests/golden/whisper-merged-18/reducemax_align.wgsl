// Maximum of [1,32,300] along axis 2, an invocation for each result.
//
// align, 1 dispatch:
//   /proj_out/MatMul
// reads x f32[1,32,300]
// writes out f32[1,32,1]
// at most 38.5 kB moved, 9.6 kFLOP a dispatch

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
  if (i >= 32u) {
    return;
  }
  let first = i * 300u;
  var highest = load_x(first);
  for (var j = 0u; j < 300u; j++) {
    let value = load_x(first + j);
    highest = max(highest, value);
  }
  store_out(i, highest);
}
