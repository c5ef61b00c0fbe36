/**
 * strokes-v1: pen strokes to a 28 x 28 image, as an arithmetic distance field.
 *
 * The twin of csrc/strokes.c: the same operations in the same order, in doubles. No canvas is
 * involved, so every browser computes the same pixels. Pixel (row i, column j) has its centre at
 * x = j, y = i; ink is 1 and paper 0.
 */

/** Pen strokes: lists of points [x, y, ...], y down, in any unit. */
export type Strokes = ArrayLike<ArrayLike<ArrayLike<number>>>;

export const SIZE = 28;
export const PIXELS = SIZE * SIZE;
export const PEN_WIDTH = 2.4;
const BOX = 20;
const CENTRE = 14;
const THINNING = 1 / 16;
const MAX_POINTS = 100_000;
const MAX_KEPT = 20_000;
const FAR = 1e30;

function want(ok: boolean): void {
  if (!ok) throw new TypeError("strokes: wanted lists of finite points [x, y]");
}

const tooMany = () => new RangeError("strokes: too many points");
type Numbers = number[] | Float32Array;
// Not Math.max(...values): engines limit the number of arguments.
export const highest = (values: Numbers): number =>
  (values as number[]).reduce((a, b) => Math.max(a, b));
export const lowest = (values: Numbers): number => -highest(values.map((v) => -v));

/** Coordinates of all points; stroke k ends before ends[k]. */
export class Path {
  x: number[] = [];
  y: number[] = [];
  ends: number[] = [];

  /** Nothing of the strokes is trusted. */
  constructor(strokes: Strokes) {
    want(strokes.length >= 0);
    for (let k = 0; k < strokes.length; k++) {
      const { length } = strokes[k];
      want(length >= 0);
      if (length > MAX_POINTS - this.x.length) throw tooMany();
      for (let i = 0; i < length; i++) {
        const point = strokes[k][i];
        want(Number.isFinite(point[0]) && Number.isFinite(point[1]));
        this.x.push(point[0]);
        this.y.push(point[1]);
      }
      if (length) this.ends.push(this.x.length);
    }
  }

  /** Maps all points onto the box of 20 pixels, pen included, dropping those too near the last. */
  fit(pen: number): void {
    const { x, y, ends } = this, both = [x, y];
    if (!x.length) return;
    const low = both.map(lowest), high = both.map(highest);
    // A power of two that brings huge or tiny coordinates near 1: nothing overflows after it.
    const magnitude = highest([...low, ...high].map(Math.abs));
    const unit = magnitude > 2 ** 400 ? 2 ** -600 : magnitude < 2 ** -400 ? 2 ** 600 : 1;
    const extent = highest(high.map((v, i) => v * unit - low[i] * unit));
    const scale = extent < 1e-300 ? 0 : (BOX - pen) / extent;
    const middle = high.map((v, i) => (low[i] * unit + v * unit) / 2);
    let kept = 0, i = 0;
    ends.forEach((end, k) => {
      for (let first = kept; i < end; i++) {
        const [u, v] = both.map((values, axis) =>
          (values[i] * unit - middle[axis]) * scale + CENTRE);
        const dx = u - x[kept - 1], dy = v - y[kept - 1];
        if (kept > first && i < end - 1 && dx * dx + dy * dy < THINNING * THINNING) continue;
        if (kept == MAX_KEPT) throw tooMany();
        x[kept] = u;
        y[kept++] = v;
      }
      ends[k] = kept;
    });
  }

  /** Coverage of every pixel, the path moved: clamp(1/2 + pen/2 - distance, 0, 1). */
  draw(pen: number, [dx, dy]: number[]): Float64Array {
    const { x, y, ends } = this, reach = pen / 2 + 0.5;
    const ink = new Float64Array(PIXELS).fill(FAR);
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
  const bottom = Math.min(Math.max(ay, by) + reach, SIZE - 1);
  for (let i = Math.max(Math.ceil(Math.min(ay, by) - reach), 0); i <= bottom; i++) {
    const py = i - ay, slack = reach + 1e-6;
    let xa = ax, xb = bx;
    if (Math.abs(dy) > 1e-6) {
      const clip = (t: number) => ax + Math.max(Math.min(t / dy, 1), 0) * dx;
      xa = clip(py - reach);
      xb = clip(py + reach);
    }
    const right = Math.min(Math.max(xa, xb) + slack, SIZE - 1);
    for (let j = Math.max(Math.ceil(Math.min(xa, xb) - slack), 0); j <= right; j++) {
      const px = j - ax, p = SIZE * i + j;
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
  if (!(penWidth > 0 && penWidth <= 10)) throw new RangeError("penWidth: wanted 0 to 10");
  const path = new Path(strokes);
  path.fit(penWidth);
  return Float32Array.from(path.draw(penWidth, centreOffset(path.draw(penWidth, [0, 0]))));
}
