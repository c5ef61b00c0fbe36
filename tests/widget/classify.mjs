/**
 * node classify.mjs IN OUT: reads {"model": text or null, "drawings": [strokes, ...]} and writes
 * the pixels and probabilities of each drawing as core.js sees it, for the Python tests.
 */
import { readFileSync, writeFileSync } from "node:fs";

import { classify, loadModel, predict, rasterize } from "../../mnistc/widget/dist/core.js";

const { model: text, drawings, images = [] } = JSON.parse(readFileSync(process.argv[2], "utf8"));
const model = text && loadModel(text);
const read = drawings.map((strokes) => {
  if (!model) return { pixels: Array.from(rasterize(strokes)) };
  const { pixels, probabilities } = classify(model, strokes);
  return { pixels: Array.from(pixels), probabilities };
});
writeFileSync(process.argv[3], JSON.stringify({
  drawings: read, images: images.map((image) => predict(model, image)),
}));
