/**
 * strokes-v1: pen strokes to a 28 x 28 image, as an arithmetic distance field.
 *
 * The twin of csrc/strokes.c: the same operations in the same order, in doubles. No canvas is
 * involved, so every browser computes the same pixels. Pixel (row i, column j) has its centre at
 * x = j, y = i; ink is 1 and paper 0.
 */

/** One pen stroke: points [x, y, ...], y down, in any unit. */
export type Stroke = ArrayLike<ArrayLike<number>>;
export type Strokes = ArrayLike<Stroke>;

export const SIZE = 28;
export const PIXELS = SIZE * SIZE;
export const PEN_WIDTH = 2.4;
const BOX = 20;
const CENTRE = 14;
const THINNING = 1 / 16;
const MAX_PEN = 10;
const MAX_POINTS = 100_000;
const MAX_KEPT = 20_000;
const FAR = 1e30;

/** Points of all strokes in pixels; stroke k ends before ends[k]. */
interface Kept {
  x: number[];
  y: number[];
  ends: number[];
}

const isList = (value: unknown): value is ArrayLike<unknown> =>
  typeof value == "object" && value !== null && (value as { length: number }).length >= 0;

/** The strokes as flat coordinates, or an error: nothing of them is trusted. */
function flatten(strokes: Strokes): { points: number[]; ends: number[] } {
  const points: number[] = [];
  const ends: number[] = [];
  if (!isList(strokes)) throw new TypeError("strokes: a list of lists of points [x, y] is wanted");
  if (strokes.length > MAX_POINTS) throw tooMany();
  for (let k = 0; k < strokes.length; k++) {
    const stroke = strokes[k];
    if (!isList(stroke)) throw new TypeError(`strokes[${k}]: a list of points [x, y] is wanted`);
    if (points.length / 2 + stroke.length > MAX_POINTS) throw tooMany();
    for (let i = 0; i < stroke.length; i++) {
      const point = stroke[i];
      if (!point || !Number.isFinite(point[0]) || !Number.isFinite(point[1])) {
        throw new TypeError(`strokes[${k}][${i}]: a point [x, y] of finite numbers is wanted`);
      }
      points.push(point[0], point[1]);
    }
    ends.push(points.length / 2);
  }
  return { points, ends };
}

const tooMany = () => new RangeError(`strokes: too many points (at most ${MAX_POINTS}, and ` +
  `${MAX_KEPT} that are 1/16 pixel apart)`);

/** Maps all points onto the box of 20 pixels, pen included, dropping those too near the last. */
function fitBox(points: number[], ends: number[], pen: number): Kept {
  let x0 = Infinity, x1 = -Infinity, y0 = Infinity, y1 = -Infinity;
  for (let i = 0; i < points.length; i += 2) {
    const x = points[i], y = points[i + 1];
    if (x < x0) x0 = x;
    if (x > x1) x1 = x;
    if (y < y0) y0 = y;
    if (y > y1) y1 = y;
  }
  // A power of two that brings huge or tiny coordinates near 1: nothing overflows after it.
  const magnitude = Math.max(Math.abs(x0), Math.abs(x1), Math.abs(y0), Math.abs(y1));
  const unit = magnitude > 2 ** 400 ? 2 ** -600 : magnitude < 2 ** -400 ? 2 ** 600 : 1;
  const extent = Math.max(x1 * unit - x0 * unit, y1 * unit - y0 * unit);
  const scale = extent < 1e-300 ? 0 : (BOX - pen) / extent;
  const middleX = (x0 * unit + x1 * unit) / 2, middleY = (y0 * unit + y1 * unit) / 2;

  const kept: Kept = { x: [], y: [], ends: [] };
  let begin = 0;
  for (const end of ends) {
    const first = kept.x.length;
    for (let i = begin; i < end; i++) {
      const x = (points[2 * i] * unit - middleX) * scale + CENTRE;
      const y = (points[2 * i + 1] * unit - middleY) * scale + CENTRE;
      const last = kept.x.length - 1;
      if (last >= first && i < end - 1) {
        const dx = x - kept.x[last], dy = y - kept.y[last];
        if (dx * dx + dy * dy < THINNING * THINNING) continue;
      }
      if (last + 1 == MAX_KEPT) throw tooMany();
      kept.x.push(x);
      kept.y.push(y);
    }
    if (end > begin) kept.ends.push(kept.x.length);
    begin = end;
  }
  return kept;
}

/**
 * Lowers squared[] to the squared distance to segment a-b. Only pixels within reach count, so each
 * row looks at the part of the segment that is within reach of it: long segments stay cheap.
 */
function drawSegment(
  ax: number, ay: number, bx: number, by: number, reach: number, squared: Float64Array,
): void {
  const dx = bx - ax, dy = by - ay;
  const length2 = dx * dx + dy * dy;
  const inverse = length2 > 1e-24 ? 1 / length2 : 0;
  const top = Math.max(Math.ceil(Math.min(ay, by) - reach), 0);
  const bottom = Math.min(Math.floor(Math.max(ay, by) + reach), SIZE - 1);
  const steep = Math.abs(dy) > 1e-6;
  for (let i = top; i <= bottom; i++) {
    let from = 0, to = 1;
    if (steep) {
      const t0 = (i - reach - ay) / dy, t1 = (i + reach - ay) / dy;
      from = Math.max(Math.min(t0, t1), 0);
      to = Math.min(Math.max(t0, t1), 1);
    }
    const xa = ax + from * dx, xb = ax + to * dx;
    const left = Math.max(Math.ceil(Math.min(xa, xb) - reach - 1e-6), 0);
    const right = Math.min(Math.floor(Math.max(xa, xb) + reach + 1e-6), SIZE - 1);
    const py = i - ay;
    for (let j = left, p = SIZE * i + left; j <= right; j++, p++) {
      const px = j - ax;
      let t = (px * dx + py * dy) * inverse;
      t = t < 0 ? 0 : t > 1 ? 1 : t;
      const ex = px - t * dx, ey = py - t * dy;
      const d = ex * ex + ey * ey;
      if (d < squared[p]) squared[p] = d;
    }
  }
}

/** Coverage of every pixel: clamp(1/2 + pen/2 - distance, 0, 1). */
function draw({ x, y, ends }: Kept, pen: number): Float64Array {
  const reach = pen / 2 + 0.5;
  const ink = new Float64Array(PIXELS).fill(FAR);
  let begin = 0;
  for (const end of ends) {
    if (end - begin == 1) drawSegment(x[begin], y[begin], x[begin], y[begin], reach, ink);
    for (let i = begin; i < end - 1; i++) drawSegment(x[i], y[i], x[i + 1], y[i + 1], reach, ink);
    begin = end;
  }
  for (let p = 0; p < PIXELS; p++) {
    ink[p] = Math.max(Math.min(reach - Math.sqrt(ink[p]), 1), 0);
  }
  return ink;
}

/** Offset [dx, dy] that brings the centre of mass of ink to (14, 14). */
export function centreOffset(ink: ArrayLike<number>): [number, number] {
  let mass = 0, x = 0, y = 0;
  for (let i = 0; i < SIZE; i++) {
    for (let j = 0; j < SIZE; j++) {
      const v = ink[SIZE * i + j];
      mass += v;
      x += v * j;
      y += v * i;
    }
  }
  return mass > 0 ? [CENTRE - x / mass, CENTRE - y / mass] : [0, 0];
}

/** The 784 pixels (row-major, ink 1) of some pen strokes; blank if they have no point. */
export function rasterize(
  strokes: Strokes, options: { penWidth?: number | undefined } = {},
): Float32Array {
  const pen = options.penWidth === undefined ? PEN_WIDTH : options.penWidth;
  if (!(pen > 0 && pen <= MAX_PEN)) {
    throw new RangeError(`penWidth: a number above 0, at most ${MAX_PEN}, is wanted, not ${pen}`);
  }
  const { points, ends } = flatten(strokes);
  if (!points.length) return new Float32Array(PIXELS);
  const kept = fitBox(points, ends, pen);
  const [dx, dy] = centreOffset(draw(kept, pen));
  kept.x = kept.x.map((x) => x + dx);
  kept.y = kept.y.map((y) => y + dy);
  return Float32Array.from(draw(kept, pen));
}
