// Functions of real numbers for the wire: made of additions, multiplications, divisions and square roots of doubles in a fixed order, which
// every machine computes alike (IEEE 754). The engine's own Math.exp, Math.log, Math.tan and Math.atan may differ in their last bits.

/** exp(x): a series of x/1024 to the 12th term, squared ten times. */
export function portableExp(x: number): number {
  const small = x / 1024;
  let sum = 1;
  for (let n = 12; n >= 1; n--) sum = 1 + sum * small / n;
  for (let i = 0; i < 10; i++) sum *= sum;
  return sum;
}

/** Binary logarithm of x (positive, finite) with `bits` binary places behind the point, rounded down. */
export function portableLog2(x: number, bits: number): number {
  let log = 0;
  for (; x >= 2; x /= 2) log += 1;
  for (; x < 1; x *= 2) log -= 1;
  let place = 1;
  for (let i = 0; i < bits; i++) {
    x *= x;
    place /= 2;
    if (x >= 2) {
      x /= 2;
      log += place;
    }
  }
  return log;
}

/** tan(x) for |x| <= 0.8: the continued fraction x / (1 - x^2 / (3 - x^2 / (5 - ...))), nine levels deep. */
export function portableTan(x: number): number {
  const square = x * x;
  let below = 15 - square / 17;
  below = 13 - square / below;
  below = 11 - square / below;
  below = 9 - square / below;
  below = 7 - square / below;
  below = 5 - square / below;
  below = 3 - square / below;
  return x / (1 - square / below);
}

/** atan(x) for |x| <= 1: three halvings of the angle by x / (1 + sqrt(1 + x^2)), then the series to the 15th power. */
export function portableAtan(x: number): number {
  x = x / (1 + Math.sqrt(1 + x * x));
  x = x / (1 + Math.sqrt(1 + x * x));
  x = x / (1 + Math.sqrt(1 + x * x));
  const square = x * x;
  let sum = 1 / 13 - square * (1 / 15);
  sum = 1 / 11 - square * sum;
  sum = 1 / 9 - square * sum;
  sum = 1 / 7 - square * sum;
  sum = 1 / 5 - square * sum;
  sum = 1 / 3 - square * sum;
  return 8 * x * (1 - square * sum);
}
