/**
 * The bitmap route, for uploaded pictures: polarity from the border, crop to the ink, area average
 * into a box of 20 x 20, centre of mass to (14, 14), as MNIST itself was made.
 */
import { centreOffset, PIXELS, SIZE } from "./strokes.js";

const BOX = 20;
const CONTRAST = 24; // of 255: less than this between ink and paper is no drawing
const FLOOR = 0.25; // of the strongest ink: paper texture and shadows lie below

/** Paper's grey: the middle of the values along the border. */
function paperGrey(grey: ArrayLike<number>, width: number, height: number): number {
  const border: number[] = [];
  for (let x = 0; x < width; x++) border.push(grey[x], grey[(height - 1) * width + x]);
  for (let y = 0; y < height; y++) border.push(grey[y * width], grey[y * width + width - 1]);
  return border.sort((a, b) => a - b)[border.length >> 1];
}

/** Ink 0 to 1 whatever the colours: dark on light or light on dark. */
function extractInk(grey: ArrayLike<number>, width: number, height: number): Float32Array {
  const paper = paperGrey(grey, width, height);
  let darkest = Infinity, lightest = -Infinity;
  for (let i = 0; i < grey.length; i++) {
    if (grey[i] < darkest) darkest = grey[i];
    if (grey[i] > lightest) lightest = grey[i];
  }
  const range = paper - darkest >= lightest - paper ? paper - darkest : paper - lightest;
  if (!(Math.abs(range) >= CONTRAST)) throw new RangeError("image: no digit found in it");
  return Float32Array.from(grey, (v) => {
    const ink = (paper - v) / range;
    return ink < FLOOR ? 0 : Math.min(ink, 1);
  });
}

/** Average of ink over [x0, x1) x [y0, y1), with fractions of pixels at the edges. */
function areaMean(ink: Float32Array, width: number, height: number,
  x0: number, y0: number, x1: number, y1: number): number {
  let sum = 0;
  for (let y = Math.max(Math.floor(y0), 0); y < Math.min(y1, height); y++) {
    const part = Math.min(y + 1, y1) - Math.max(y, y0);
    for (let x = Math.max(Math.floor(x0), 0); x < Math.min(x1, width); x++) {
      sum += ink[y * width + x] * part * (Math.min(x + 1, x1) - Math.max(x, x0));
    }
  }
  return sum / ((x1 - x0) * (y1 - y0));
}

/** The 784 pixels (ink 1) of a picture: grey values 0 to 255, row-major, any size. */
export function bitmapToPixels(
  grey: ArrayLike<number>, width: number, height: number,
): Float32Array {
  if (!(width > 0 && height > 0) || grey.length != width * height) {
    throw new RangeError(`image: ${width} x ${height} grey values are wanted`);
  }
  const ink = extractInk(grey, width, height);
  let left = width, right = 0, top = height, bottom = 0;
  for (let i = 0; i < ink.length; i++) {
    if (!ink[i]) continue;
    const x = i % width, y = (i - x) / width;
    left = Math.min(left, x);
    right = Math.max(right, x + 1);
    top = Math.min(top, y);
    bottom = y + 1;
  }
  const step = Math.max(right - left, bottom - top) / BOX;
  const middleX = (left + right) / 2, middleY = (top + bottom) / 2;
  // Pixel j covers j - 1/2 to j + 1/2; the box's middle comes to `at` first, then the mass does.
  const sample = (atX: number, atY: number) => Float32Array.from({ length: PIXELS }, (_, p) => {
    const x = middleX + ((p % SIZE) - 0.5 - atX) * step;
    const y = middleY + (Math.floor(p / SIZE) - 0.5 - atY) * step;
    return areaMean(ink, width, height, x, y, x + step, y + step);
  });
  const [dx, dy] = centreOffset(sample(13.5, 13.5));
  const pixels = sample(13.5 + dx, 13.5 + dy);
  const strongest = pixels.reduce((a, b) => Math.max(a, b));
  return pixels.map((v) => v / strongest);
}
