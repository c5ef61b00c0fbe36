import assert from "node:assert/strict";
import { test } from "node:test";

import { bitmapToPixels, rasterize } from "../../../mnistc/widget/dist/core.js";

/** A grey picture of strokes-v1 pixels, enlarged, on a larger sheet. */
function picture(pixels, scale, left, top, width, height, ink, paper) {
  return Float32Array.from({ length: width * height }, (_, i) => {
    const x = Math.floor(((i % width) - left) / scale), y = Math.floor((Math.floor(i / width) - top) / scale);
    const strength = x >= 0 && x < 28 && y >= 0 && y < 28 ? pixels[28 * y + x] : 0;
    return paper + (ink - paper) * strength;
  });
}

const seven = rasterize([[[0, 0], [10, 0], [4, 16]]]);
const difference = (a, b) => a.reduce((sum, v, i) => sum + Math.abs(v - b[i]), 0) /
  b.reduce((sum, v) => sum + v, 0);

test("a picture of an image gives that image, dark on light and light on dark", () => {
  for (const [ink, paper] of [[0, 255], [255, 0], [40, 200], [180, 90]]) {
    const grey = picture(seven, 8, 61, 20, 320, 280, ink, paper);
    assert.ok(difference(bitmapToPixels(grey, 320, 280), seven) < 0.25, `${ink} on ${paper}`);
  }
});

test("place and size do not matter", () => {
  const pixels = bitmapToPixels(picture(seven, 10, 5, 5, 300, 300, 0, 255), 300, 300);
  const other = bitmapToPixels(picture(seven, 6, 150, 90, 400, 300, 0, 255), 400, 300);
  assert.ok(difference(pixels, other) < 0.15);
  assert.ok(pixels.every((v) => v >= 0 && v <= 1));
});

test("the centre of mass comes to (14, 14)", () => {
  const pixels = bitmapToPixels(picture(seven, 9, 30, 0, 300, 300, 0, 255), 300, 300);
  const mass = pixels.reduce((a, b) => a + b);
  const mean = (f) => pixels.reduce((sum, v, i) => sum + v * f(i), 0) / mass;
  assert.ok(Math.abs(mean((i) => i % 28) - 14) < 0.1);
  assert.ok(Math.abs(mean((i) => Math.floor(i / 28)) - 14) < 0.1);
});

test("a picture of nothing is an error", () => {
  for (const grey of [new Float32Array(900).fill(255), Float32Array.from({ length: 900 }, (_, i) => 100 + (i % 7))]) {
    assert.throws(() => bitmapToPixels(grey, 30, 30), RangeError);
  }
  assert.throws(() => bitmapToPixels([], 0, 0), RangeError);
});
