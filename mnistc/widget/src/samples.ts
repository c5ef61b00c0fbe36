/** Sample digits: a stroke is a smooth curve through points, two base-36 digits each. */
const DIGITS = (
  "i5b99ibrivprrip9i5," +
  "ccj5j5jijv," +
  "abd6j5p9ofhnauauiuru," +
  "a8h5o9mfghghnjppjvas," +
  "h5dd9m9mimsm ldlnlw," +
  "p6i6c6c6bgbgiepipqivas," +
  "m5fbalcsivprokhibn," +
  "a6i6q6q6lhgv," +
  "ihbcd6i5o7odihbnctivptpnih," +
  "paj5c8bfhioepapaoklv"
).split(",");
const STEPS = 6;

/** Catmull-Rom spline through the points; a point given twice is a corner. */
function smooth(points: number[][]): number[][] {
  const curve: number[][] = [];
  for (let i = 0; i + 1 < points.length; i++) {
    const a = points[Math.max(i - 1, 0)], b = points[i], c = points[i + 1];
    const d = points[Math.min(i + 2, points.length - 1)];
    for (let step = 0; step < STEPS; step++) {
      const t = step / STEPS;
      curve.push([0, 1].map((k) => b[k] + (t / 2) * (c[k] - a[k] + t * (2 * a[k] - 5 * b[k] +
        4 * c[k] - d[k] + t * (3 * (b[k] - c[k]) + d[k] - a[k])))));
    }
  }
  curve.push(points[points.length - 1]);
  return curve;
}

/** The ten digits as strokes in pad units. */
export const samples = (): number[][][][] => DIGITS.map((digit) => digit.split(" ").map((text) =>
  smooth(text.match(/../g)!.map((pair) => [...pair].map((c) => parseInt(c, 36) / 36)))));

