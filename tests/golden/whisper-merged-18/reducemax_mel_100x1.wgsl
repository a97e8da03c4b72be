// Maximum of [1,100,80] along axis 2, an invocation for each result.
//
// mel, 1 dispatch:
//   mel/row_peak
// reads x f32[1,100,80]
// writes out f32[1,100,1]
// at most 32.4 kB moved, 8 kFLOP a dispatch

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
  if (i >= 100u) {
    return;
  }
  let first = i * 80u;
  var highest = load_x(first);
  for (var j = 0u; j < 80u; j++) {
    let value = load_x(first + j);
    highest = max(highest, value);
  }
  store_out(i, highest);
}
