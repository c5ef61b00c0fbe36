import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { test } from "node:test";

import { rasterize } from "../../../mnistc/widget/dist/core.js";

const require = createRequire(new URL("../../../mnistc/widget/package.json", import.meta.url));
const fc = require("fast-check");
const golden = JSON.parse(readFileSync(new URL("../../golden/strokes.json", import.meta.url)));

const worst = (a, b) => a.reduce((most, v, i) => Math.max(most, Math.abs(v - b[i])), 0);

test("the golden vectors", () => {
  assert.ok(golden.cases.length > 30);
  for (const { name, strokes, pen_width: penWidth, pixels } of golden.cases) {
    assert.ok(worst(rasterize(strokes, { penWidth }), pixels) < 1e-5, name);
  }
});

test("no stroke, no point: a blank image", () => {
  for (const strokes of [[], [[]], [[], []]]) {
    const pixels = rasterize(strokes);
    assert.equal(pixels.length, 784);
    assert.ok(pixels.every((v) => v === 0));
  }
});

test("what is no drawing is an error", () => {
  const bad = [null, 7, [7], [[7]], [[[1]]], [[["1", "2"]]], [[[NaN, 0]]], [[[0, Infinity]]], [[null]],
    [[[1n, 2n]]], [{ length: 1e9 }], [{ length: -1 }, [[0]]], [{ length: NaN, 0: [0, 0] }]];
  for (const strokes of bad) {
    assert.throws(() => rasterize(strokes), { name: /^(Type|Range)Error$/ });
  }
  for (const penWidth of [0, -1, NaN, 10.1, Infinity, "wide"]) {
    assert.throws(() => rasterize([[[0, 0]]], { penWidth }), RangeError);
  }
});

test("a million points are refused, 20,000 close ones are thinned", () => {
  assert.throws(() => rasterize([Array(1_000_000).fill([0, 0])]), RangeError);
  assert.throws(() => rasterize(Array(1_000_000).fill([[0, 0]])), RangeError);
  assert.throws(() => rasterize(Array(1_000_000).fill([])), RangeError);
  const apart = Array.from({ length: 10_001 }, (_, i) => [i % 2, (i >> 1) % 2]);
  assert.throws(() => rasterize([apart]), RangeError);
  assert.equal(Math.max(...rasterize([apart.slice(1)])), 1);
  const line = Array.from({ length: 20_000 }, (_, i) => [i, 2 * i]);
  assert.ok(worst(rasterize([line]), rasterize([[[0, 0], [19_999, 39_998]]])) < 1e-6);
  assert.throws(() => rasterize([line, [[0, 0]]]), RangeError);
});

/** How often a segment looks at a pixel while a drawing is rendered, twice as that is. */
function countLooks(strokes, penWidth) {
  const Plain = globalThis.Float64Array;
  let looks = 0;
  globalThis.Float64Array = function (length) {
    const values = new Plain(length);
    const counted = new Proxy(values, { get(_, key) {
      if (/\d/.test(String(key))) looks++;
      const value = values[key];
      if (typeof value != "function") return value;
      return (...args) => {
        const result = value.apply(values, args);
        return result == values ? counted : result;
      };
    } });
    return counted;
  };
  try {
    rasterize(strokes, { penWidth });
  } finally {
    globalThis.Float64Array = Plain;
  }
  return looks;
}

test("a segment costs as many looks as its ink has pixels, not as its box", () => {
  const golden = (i) => (i * 0.6180339887) % 1, n = 500;
  const points = (f) => [Array.from({ length: n }, (_, i) => f(i))];
  const drawings = {
    zigzag: points((i) => [i % 2, golden(i)]),
    steep: points((i) => [golden(i), i % 2]),
    diagonals: points((i) => [(i % 2) + golden(i) / 50, (i % 2) - golden(i) / 50]),
    chaos: points((i) => [golden(i), golden(i * i)]),
    dots: points((i) => [golden(i), golden(i * i)])[0].map((point) => [point]),
    flat: points((i) => [i % 2, golden(i) / 1e4]),
  };
  for (const [name, strokes] of Object.entries(drawings)) {
    for (const pen of [0.5, 2.4, 10]) {
      const reach = pen / 2 + 0.5, box = 20 - pen;
      // No segment is longer than the box's diagonal; a row or column at each side may be cut.
      const most = 2 * (reach + 1) * (Math.SQRT2 * box + 2 * reach + 2);
      // Twice to find and to lower a distance, twice to find the centre and to draw there.
      const looks = countLooks(strokes, pen) / (4 * n);
      assert.ok(looks > 0.1 && looks <= Math.min(most, 784), `${name}, pen ${pen}: ${looks}, ${most}`);
    }
  }
});

const coordinate = fc.double({ min: -1e6, max: 1e6, noNaN: true });
const drawing = fc.array(fc.array(fc.tuple(coordinate, coordinate), { maxLength: 12 }), { maxLength: 5 });

test("any finite drawing gives ink between 0 and 1", () => {
  fc.assert(fc.property(fc.array(fc.array(fc.tuple(
    fc.double({ noNaN: true, noDefaultInfinity: true }),
    fc.double({ noNaN: true, noDefaultInfinity: true })))), (strokes) => {
    const pixels = rasterize(strokes);
    return pixels.length == 784 && pixels.every((v) => v >= 0 && v <= 1);
  }));
});

test("place, size and direction do not matter", () => {
  // Powers of two and whole numbers: scaling and moving by them is exact.
  const whole = fc.integer({ min: -1000, max: 1000 });
  const exact = fc.array(fc.array(fc.tuple(whole, whole), { minLength: 1, maxLength: 6 }),
    { minLength: 1, maxLength: 4 });
  fc.assert(fc.property(exact, fc.integer({ min: -30, max: 30 }), whole, (strokes, power, shift) => {
    const other = strokes.map((s) => s.map(([x, y]) => [(x + shift) * 2 ** power, y * 2 ** power]));
    assert.ok(worst(rasterize(strokes), rasterize(other)) < 1e-6);
    const back = strokes.map((s) => [...s].reverse()).reverse();
    assert.ok(worst(rasterize(strokes), rasterize(back)) < 0.15); // thinning starts elsewhere
  }));
});

test("points may carry more than their place, and be typed arrays", () => {
  const plain = rasterize([[[0, 0], [1, 2]]]);
  assert.deepEqual(rasterize([[[0, 0, 0.5, 17], [1, 2, 0.7, 18]]]), plain);
  assert.deepEqual(rasterize([[Float64Array.of(0, 0), Float32Array.of(1, 2)]]), plain);
});

test("the input is left as it is", () => {
  fc.assert(fc.property(drawing, (strokes) => {
    const before = JSON.stringify(strokes);
    rasterize(strokes);
    assert.equal(JSON.stringify(strokes), before);
  }));
});
