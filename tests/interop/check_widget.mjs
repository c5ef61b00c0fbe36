// Largest error of the widget's core over a model file's test vectors: node check_widget.mjs MODEL
import fs from "node:fs";
import { classify, loadModel, predict } from "../../mnistc/widget/dist/core.js";

const file = JSON.parse(fs.readFileSync(process.argv[2], "utf8"));
const model = loadModel(file);
let worst = 0;
for (const { strokes, input, probabilities } of file.test_vectors) {
  const result = strokes ? classify(model, strokes) : predict(model, Float32Array.from(input));
  const got = Array.from(result.probabilities ?? result);
  if (got.length !== probabilities.length) throw new Error("wrong number of outputs");
  got.forEach((p, i) => { worst = Math.max(worst, Math.abs(p - probabilities[i])); });
}
console.log(worst);
