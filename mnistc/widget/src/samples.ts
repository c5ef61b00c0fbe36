/** Sample digits: a stroke is a smooth curve along points, two base-36 digits each. */
const DIGITS = (
  "i5b99ibrivprrip9i5," +
  "ccj5j5jv," +
  "abj5ofhnauru," +
  "a7h4pahhrlpvas," +
  "h59msm ldlw," +
  "p6c6bgiepipqas," +
  "m5fbalcsivprokhibn," +
  "a6q6gv," +
  "ihd6o7odbnctivptih," +
  "paj5c8bfhioepaoklv"
).split(",");

/** Chaikin's corner cutting: every side keeps its middle half. A point given twice is a corner. */
const cut = (points: number[][]): number[][] => [points[0], ...points.slice(1).flatMap((point, i) =>
  [0.25, 0.75].map((t) => point.map((v, axis) => points[i][axis] * (1 - t) + v * t)),
), points[points.length - 1]];

/** The ten digits as strokes in pad units. */
export const samples = (): number[][][][] => DIGITS.map((digit) => digit.split(" ").map((text) =>
  cut(cut(cut(text.match(/../g)!.map((pair) => [...pair].map((c) => parseInt(c, 36) / 36)))))));
