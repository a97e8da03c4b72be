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

// tanh, whose argument some compilers may not let grow large.
fn tanh_safe(x: Number) -> Number {
  return tanh(clamp(x, Number(-15.0), Number(15.0)));
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

// log(1 + exp(x)) without overflow.
fn softplus(x: Number) -> Number {
  return max(x, Number(0.0)) + log(1.0 + exp(-abs(x)));
}

// By their bits, because compilers may assume that there are neither NaNs nor infinities.
fn is_nan(x: f32) -> u32 {
  return select(0u, 1u, (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u);
}

// Either infinity.
fn is_inf(x: f32) -> u32 {
  return select(0u, 1u, (bitcast<u32>(x) & 0x7fffffffu) == 0x7f800000u);
}
