/**
 * The bitmap route, for uploaded pictures: polarity from the border, crop to the ink, area average
 * into a box of 20 x 20, centre of mass to (14, 14), as MNIST itself was made.
 */
import { want } from "./errors.js";
import { centreOffset, highest, PIXELS, SIZE } from "./strokes.js";

const BOX = 20;
const CONTRAST = 24; // of 255: less than this between ink and paper is no drawing
const FLOOR = 0.25; // of the strongest ink: paper texture and shadows lie below
const SAMPLES = 8; // across a pixel

/** Ink 0 to 1 whatever the colours, dark on light or light on dark: paper is along the border. */
function extractInk(grey: ArrayLike<number>, width: number, height: number): Float32Array {
  const values = Float32Array.from(grey);
  const border = values.filter((_, i) => i % width == 0 || i < width || i >= width * (height - 1));
  const paper = border.sort()[border.length >> 1];
  const ink = values.reduce((a, b) => (Math.abs(b - paper) > Math.abs(a - paper) ? b : a), paper);
  want(Math.abs(ink - paper) >= CONTRAST, "no digit in it", RangeError);
  return values.map((v) => {
    const strength = (v - paper) / (ink - paper);
    return strength < FLOOR ? 0 : strength;
  });
}

/** The 784 pixels (ink 1) of a picture: grey values 0 to 255, row-major, any size. */
export function bitmapToPixels(
  grey: ArrayLike<number>, width: number, height: number,
): Float32Array {
  const ink = extractInk(grey, width, height);
  let left = width, right = 0, top = height, bottom = 0;
  ink.forEach((v, i) => {
    if (!v) return;
    const x = i % width, y = Math.floor(i / width);
    left = Math.min(left, x);
    right = Math.max(right, x + 1);
    top = Math.min(top, y);
    bottom = y + 1;
  });
  const middleX = (left + right) / 2, middleY = (top + bottom) / 2;
  const side = Math.max(right - left, bottom - top);
  // Pixel j covers j - 1/2 to j + 1/2; the box's middle comes to 13.5 first, then its mass to 14.
  const draw = ([dx, dy]: number[]) => Float32Array.from({ length: PIXELS }, (_, p) => {
    let sum = 0;
    for (let k = 0; k < SAMPLES ** 2; k++) {
      const j = (p % SIZE) + ((k % SAMPLES) + 0.5) / SAMPLES - 14 - dx;
      const i = Math.floor(p / SIZE) + (Math.floor(k / SAMPLES) + 0.5) / SAMPLES - 14 - dy;
      const x = Math.floor(middleX + (j * side) / BOX), y = Math.floor(middleY + (i * side) / BOX);
      if (x >= 0 && x < width) sum += ink[y * width + x] || 0;
    }
    return sum;
  });
  const pixels = draw(centreOffset(draw([0, 0])));
  const strongest = highest(pixels);
  return pixels.map((v) => v / strongest);
}
