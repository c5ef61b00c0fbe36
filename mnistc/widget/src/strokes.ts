/**
 * strokes-v1: pen strokes to a 28 x 28 image, as an arithmetic distance field.
 *
 * The twin of csrc/strokes.c: the same operations in the same order, in doubles. No canvas is
 * involved, so every browser computes the same pixels. Pixel (row i, column j) has its centre at
 * x = j, y = i; ink is 1 and paper 0.
 */

import { want } from "./errors.js";

/** Pen strokes: lists of points [x, y, ...], y down, in any unit. */
export type Strokes = ArrayLike<ArrayLike<ArrayLike<number>>>;

export const SIZE = 28;
export const PIXELS = SIZE * SIZE;
export const PEN_WIDTH = 2.4;
const BOX = 20;
const CENTRE = 14;
const THINNING = 1 / 16;
const MAX_POINTS = 20_000;
const MAX_KEPT = 10_000;
const FAR = 1e30;

const check = (ok: boolean) =>
  want(ok, "strokes: wanted finite points [x, y]", TypeError);
const limit = (ok: boolean) => want(ok, "strokes: too many points", RangeError);

type Numbers = number[] | Float32Array;
// Not Math.max(...values): engines limit the number of arguments.
export const highest = (values: Numbers): number =>
  (values as number[]).reduce((a, b) => Math.max(a, b));
export const lowest = (values: Numbers): number =>
  (values as number[]).reduce((a, b) => Math.min(a, b));

/** Coordinates of all points; stroke k ends before ends[k]. */
interface Path {
  x: number[];
  y: number[];
  ends: number[];
}

/** Nothing of the strokes is trusted. */
function readPath(strokes: Strokes): Path {
  const x: number[] = [], y: number[] = [], ends: number[] = [];
  check(strokes.length >= 0);
  for (let k = 0; k < strokes.length; k++) {
    const stroke = strokes[k], { length } = stroke;
    check(length >= 0);
    limit(length + x.length <= MAX_POINTS && k < MAX_POINTS);
    for (let i = 0; i < length; i++) {
      const point = stroke[i];
      check(Number.isFinite(point[0]) && Number.isFinite(point[1]));
      x.push(point[0]);
      y.push(point[1]);
    }
    if (length) ends.push(x.length);
  }
  return { x, y, ends };
}

/** All points on the box of 20 pixels, pen included, without those too near the last. */
export function fitStrokes(strokes: Strokes, pen: number): Path {
  const path = readPath(strokes), { x, y, ends } = path;
  if (!x.length) return path;
  const magnitude = highest([...x, ...y].map(Math.abs));
  // A power of two that brings huge or tiny coordinates near 1: nothing overflows after it.
  const unit = magnitude > 2 ** 400 ? 2 ** -600 : magnitude < 2 ** -400 ? 2 ** 600 : 1;
  const low = [x, y].map((v) => lowest(v) * unit), high = [x, y].map((v) => highest(v) * unit);
  const extent = highest(high.map((v, i) => v - low[i]));
  const scale = extent < 1e-300 ? 0 : (BOX - pen) / extent;
  const [middleX, middleY] = high.map((v, i) => (low[i] + v) / 2);
  let kept = 0, i = 0;
  ends.forEach((end, k) => {
    for (let first = kept; i < end; i++) {
      const u = (x[i] * unit - middleX) * scale + CENTRE;
      const v = (y[i] * unit - middleY) * scale + CENTRE;
      const dx = u - x[kept - 1], dy = v - y[kept - 1];
      if (kept > first && i < end - 1 && dx * dx + dy * dy < THINNING * THINNING) continue;
      limit(kept < MAX_KEPT);
      x[kept] = u;
      y[kept++] = v;
    }
    ends[k] = kept;
  });
  return path;
}

/** Coverage of every pixel, the path moved: clamp(1/2 + pen/2 - distance, 0, 1). */
function drawPath({ x, y, ends }: Path, pen: number, [dx, dy]: number[]): Float64Array {
  const reach = pen / 2 + 0.5, ink = new Float64Array(PIXELS).fill(FAR);
  let i = 0;
  for (const end of ends) {
    do { // a stroke of one point is a segment from it to itself
      const next = Math.min(i + 1, end - 1);
      drawSegment(x[i] + dx, y[i] + dy, x[next] + dx, y[next] + dy, reach, ink);
    } while (++i < end - 1);
    i = end;
  }
  return ink.map((squared) => Math.max(Math.min(reach - Math.sqrt(squared), 1), 0));
}

/**
 * Lowers squared[] to the squared distance to segment a-b, wherever that is within reach. A row
 * looks no farther than the two lines at that distance, so that a long segment costs as many pixels
 * as its ink has, and passes over what is full of ink already.
 */
function drawSegment(
  ax: number, ay: number, bx: number, by: number, reach: number, squared: Float64Array,
): void {
  const dx = bx - ax, dy = by - ay, length2 = dx * dx + dy * dy;
  const inverse = length2 > 1e-24 ? 1 / length2 : 0;
  const left = Math.max(Math.min(ax, bx) - reach, 0);
  const right = Math.min(Math.max(ax, bx) + reach, SIZE - 1);
  const bottom = Math.min(Math.max(ay, by) + reach, SIZE - 1);
  const steep = Math.abs(dy) > 1e-3, slope = steep ? dx / dy : 0;
  const half = steep ? (reach * Math.sqrt(length2)) / Math.abs(dy) + 1e-6 : FAR;
  const core = Math.max(reach - 1, 0), full = core * core;
  for (let i = Math.max(Math.ceil(Math.min(ay, by) - reach), 0); i <= bottom; i++) {
    const py = i - ay, middle = ax + py * slope, last = Math.min(right, middle + half);
    for (let j = Math.ceil(Math.max(left, middle - half)); j <= last; j++) {
      const p = SIZE * i + j;
      if (squared[p] <= full) continue;
      const px = j - ax;
      const t = Math.max(Math.min((px * dx + py * dy) * inverse, 1), 0);
      const ex = px - t * dx, ey = py - t * dy;
      squared[p] = Math.min(ex * ex + ey * ey, squared[p]);
    }
  }
}

/** Offset [dx, dy] that brings the centre of mass of ink to (14, 14). */
export function centreOffset(ink: ArrayLike<number>): number[] {
  let mass = 0, x = 0, y = 0;
  for (let p = 0; p < PIXELS; p++) {
    mass += ink[p];
    x += ink[p] * (p % SIZE);
    y += ink[p] * Math.floor(p / SIZE);
  }
  return mass > 0 ? [CENTRE - x / mass, CENTRE - y / mass] : [0, 0];
}

/** The 784 pixels (row-major, ink 1) of some pen strokes; blank if they have no point. */
export function rasterize(
  strokes: Strokes, { penWidth = PEN_WIDTH }: { penWidth?: number | undefined } = {},
): Float32Array {
  want(penWidth > 0 && penWidth <= 10, "penWidth: wanted 0 to 10", RangeError);
  const path = fitStrokes(strokes, penWidth), draw = drawPath.bind(null, path, penWidth);
  return Float32Array.from(draw(centreOffset(draw([0, 0]))));
}
