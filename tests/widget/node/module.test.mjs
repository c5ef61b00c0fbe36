import assert from "node:assert/strict";
import { test } from "node:test";

test("the element's module can be imported where there is no page", async () => {
  const module = await import("../../../mnistc/widget/dist/mnistc.js");
  assert.equal(typeof module.MnistDigit, "function");
  assert.equal(module.samples().length, 10);
  for (const strokes of module.samples()) assert.equal(module.rasterize(strokes).length, 784);
});
