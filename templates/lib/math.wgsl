// The error function; its relative error is below 1.2e-7 (Press et al., Numerical Recipes, 6.2).
fn erf(x: Number) -> Number {
  let t = 1.0 / (1.0 + 0.5 * abs(x));
  let series = -1.26551223 + t * (1.00002368 + t * (0.37409196 + t * (0.09678418 + t * (-0.18628806
    + t * (0.27886807 + t * (-1.13520398 + t * (1.48851587 + t * (-0.82215223 + t * 0.17087277))))))));
  return sign(x) * (1.0 - t * exp(-x * x + series));
}

// GELU: x times the normal distribution function.
fn gelu(x: Number) -> Number {
  return 0.5 * x * (1.0 + erf(x * 0.70710678));
}

// tanh, whose argument some compilers may not let grow large, and of which they lose digits near 0.
fn tanh_safe(x: Number) -> Number {
  let q = x * x;
  let small = x * (1.0 - q * (0.33333333 - q * (0.13333333 - q * 0.053968254)));
  return select(tanh(clamp(x, Number(-15.0), Number(15.0))), small, abs(x) < Number(0.2));
}

// GELU in its approximation by tanh.
fn tanh_gelu(x: Number) -> Number {
  return 0.5 * x * (1.0 + tanh_safe(0.79788456 * (x + 0.044715 * x * x * x)));
}

// Powers also of negative numbers, where the exponent is a whole number.
fn power(x: Number, y: Number) -> Number {
  let magnitude = select(pow(abs(x), y), Number(1.0), y == Number(0.0));
  let odd = abs(y) % Number(2.0) == Number(1.0);
  return select(magnitude, -magnitude, (x < Number(0.0)) & odd);
}

// Powers of whole numbers, by squaring; of a negative exponent, what is left of the point.
fn power_i32(x: i32, y: i32) -> i32 {
  if (y < 0) {
    return select(0, select(x, 1, y % 2 == 0), abs(x) == 1);
  }
  var result = 1;
  var square = x;
  for (var rest = y; rest > 0; rest /= 2) {
    result *= select(1, square, rest % 2 == 1);
    square *= square;
  }
  return result;
}

// Powers of whole numbers to any: exact where the exponent is whole, else what is left of the point.
fn power_mixed(x: i32, y: f32) -> i32 {
  return select(i32(power(f32(x), y)), power_i32(x, i32(y)), y == trunc(y));
}

// exp(x) - 1, to all digits near 0 too.
fn expm1(x: Number) -> Number {
  let small = x * (1.0 + x / 2.0 * (1.0 + x / 3.0 * (1.0 + x / 4.0 * (1.0 + x / 5.0 * (1.0 + x / 6.0
    * (1.0 + x / 7.0 * (1.0 + x / 8.0)))))));
  return select(exp(x) - 1.0, small, abs(x) < Number(0.5));
}

// log(1 + x), to all digits near 0 too.
fn log1p(x: Number) -> Number {
  let s = x / (2.0 + x);
  let q = s * s;
  let small = 2.0 * s * (1.0 + q * (1.0 / 3.0 + q * (1.0 / 5.0 + q * (1.0 / 7.0 + q / 9.0))));
  return select(log(1.0 + x), small, abs(x - 0.1) < Number(0.4));
}

// log(1 + exp(x)) without overflow.
fn softplus(x: Number) -> Number {
  return max(x, Number(0.0)) + log1p(exp(-abs(x)));
}

// The hyperbolic sine.
fn sinh_exact(x: Number) -> Number {
  let e = expm1(abs(x));
  return sign(x) * 0.5 * e * (1.0 + 1.0 / (e + 1.0));
}

// The inverse of the hyperbolic sine.
fn arsinh(x: Number) -> Number {
  let a = abs(x);
  let near = log1p(a + a * (a / (1.0 + sqrt(a * a + 1.0))));
  return sign(x) * select(near, log(a) + 0.6931471805599453, a > Number(1e9));
}

// The inverse of the hyperbolic cosine.
fn arcosh(x: Number) -> Number {
  let t = x - 1.0;
  let near = log1p(t + sqrt(t * (2.0 + t)));
  return select(near, log(x) + 0.6931471805599453, x > Number(1e9));
}

// The inverse of the hyperbolic tangent.
fn artanh(x: Number) -> Number {
  let a = abs(x);
  return sign(x) * 0.5 * log1p(2.0 * a / (1.0 - a));
}

// The inverse of the tangent (Moshier, Cephes, atanf). WGSL lets its own be off by 4096 units in the last place.
fn arctan(x: Number) -> Number {
  let a = abs(x);
  let steep = a > Number(2.414213562373095);
  let half = a > Number(0.4142135623730950);
  let start = select(select(Number(0.0), Number(0.7853981633974483), half), Number(1.5707963267948966), steep);
  let t = select(select(a, (a - 1.0) / (a + 1.0), half), -1.0 / a, steep);
  let q = t * t;
  let series = ((0.0805374449538 * q - 0.138776856032) * q + 0.199777106478) * q - 0.333329491539;
  return sign(x) * (start + (t + t * q * series));
}

// The inverse of the sine.
fn arcsin(x: Number) -> Number {
  return arctan(x / sqrt((1.0 - x) * (1.0 + x)));
}

// The inverse of the cosine.
fn arccos(x: Number) -> Number {
  return 2.0 * arctan(sqrt((1.0 - x) / (1.0 + x)));
}

// What is left of x when y is taken away as often as it fits, with the sign of x: to the last bit, by long division.
fn remainder(x: f32, y: f32) -> f32 {
  let a = bitcast<u32>(abs(x));
  let b = bitcast<u32>(abs(y));
  if (a >= 0x7f800000u || b > 0x7f800000u || b < 0x00800000u) {
    return from_bits(0x7fc00000u);
  }
  if (a < b) {
    return x;
  }
  var rest = (a & 0x7fffffu) | 0x800000u;
  let divisor = (b & 0x7fffffu) | 0x800000u;
  for (var i = (a >> 23u) - (b >> 23u); i > 0u; i--) {
    rest = select(rest, rest - divisor, rest >= divisor) << 1u;
  }
  rest = select(rest, rest - divisor, rest >= divisor);
  return sign(x) * ldexp(f32(rest) / 8388608.0, i32(b >> 23u) - 127);
}

// The same with the sign of y.
fn modulo(x: f32, y: f32) -> f32 {
  let rest = remainder(x, y);
  return select(rest, rest + y, rest != 0.0 && (rest < 0.0) != (y < 0.0));
}

// The remainder of a division that rounds down.
fn modulo_i32(x: i32, y: i32) -> i32 {
  let rest = x % y;
  return select(rest, rest + y, rest != 0 && (rest < 0) != (y < 0));
}

// A number in the precision of a bfloat16.
fn round_bf16(x: f32) -> f32 {
  let bits = bitcast<u32>(x);
  let rounded = (bits + 0x7fffu + ((bits >> 16u) & 1u)) & 0xffff0000u;
  return bitcast<f32>(select(rounded, bits, is_nan(x) == 1u));
}

// Numbers in the precision of an f16, rounded to the nearest, ties to even. By their bits, because quantizeToF16 and
// pack2x16float truncate on some adapters.
fn nearest_f16(x: vec4f) -> vec4f {
  let bits = bitcast<vec4u>(x);
  let size = bits & vec4u(0x7fffffffu);
  let normal = bitcast<vec4f>((bits + vec4u(0xfffu) + ((bits >> vec4u(13u)) & vec4u(1u))) & vec4u(0xffffe000u));
  let small = round(x * 16777216.0) / 16777216.0;  // below 2^-14, f16 are multiples of 2^-24
  let finite = select(normal, small, size < vec4u(0x38800000u));
  return select(finite, x, size > vec4u(0x7f800000u));
}

// Infinities and NaN, for which there are no literals.
fn from_bits(bits: u32) -> f32 {
  return bitcast<f32>(bits);
}

// By their bits, because compilers may assume that there are neither NaNs nor infinities.
fn is_nan(x: f32) -> u32 {
  return select(0u, 1u, (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u);
}

// Either infinity.
fn is_inf(x: f32) -> u32 {
  return select(0u, 1u, (bitcast<u32>(x) & 0x7fffffffu) == 0x7f800000u);
}

// Which of the entries of an axis an index means; a negative one counts from the end.
fn entry(wanted: i32, entries: u32) -> u32 {
  return min(u32(select(wanted, wanted + i32(entries), wanted < 0)), entries - 1u);
}

// x, mirrored at two borders until it lies between them.
fn reflected(x: f32, low: f32, high: f32) -> f32 {
  let span = max(high - low, 1e-6);
  return low + span - abs(abs(x - low) % (2.0 * span) - span);
}
