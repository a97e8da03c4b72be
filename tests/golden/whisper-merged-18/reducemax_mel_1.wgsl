// Maximum of [1,100,1] along axis 1, an invocation for each result.
//
// mel, 1 dispatch:
//   mel/peak
// reads x f32[1,100,1]
// writes out f32[1,1,1]
// at most 404 B moved, 100 FLOP a dispatch

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
  var highest = load_x(first);
  for (var j = 0u; j < 100u; j++) {
    let value = load_x(first + j);
    highest = max(highest, value);
  }
  store_out(i, highest);
}
