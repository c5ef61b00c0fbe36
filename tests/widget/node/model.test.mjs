import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { test } from "node:test";

import { classify, loadModel, predict, rasterize, SURE } from "../../../mnistc/widget/dist/core.js";
import { EVERYTHING, floatTensor, int8Tensor, randomModel, randomNumbers, SMALL } from "../models.mjs";
import { forward } from "../reference.mjs";

const require = createRequire(new URL("../../../mnistc/widget/package.json", import.meta.url));
const fc = require("fast-check");

const random = randomNumbers(5);
const image = Float32Array.from({ length: 784 }, () => Math.max(0, random()));
const close = (a, b, tolerance) =>
  a.forEach((v, i) => assert.ok(Math.abs(v - b[i]) <= tolerance, `${i}: ${v} and ${b[i]}`));
const copy = (value) => JSON.parse(JSON.stringify(value));

test("every type of layer equals a plain forward pass", () => {
  for (const seed of [1, 2, 3]) {
    const file = randomModel(EVERYTHING, { seed });
    const model = loadModel(JSON.stringify(file));
    close(predict(model, image), forward(model, image), 1e-6);
    assert.equal(model.parameters, Object.values(model.tensors)
      .reduce((sum, { data }) => sum + data.length, 0));
  }
});

test("predictions do not depend on what was predicted before", () => {
  const model = loadModel(randomModel(EVERYTHING)), first = predict(model, image);
  predict(model, new Float32Array(784).fill(1));
  assert.deepEqual(predict(model, image), first);
  assert.deepEqual(predict(model, Array.from(image)), first);
});

test("trace sees every layer's output", () => {
  const model = loadModel(randomModel(EVERYTHING)), shapes = [];
  predict(model, image, (layer, output) => {
    assert.equal(output.length, layer.output.reduce((a, b) => a * b, 1));
    shapes.push(layer.output.join("x"));
  });
  assert.equal(shapes.length, EVERYTHING.length);
  assert.equal(shapes[0], "28x28x5");
});

test("int8 and decimal tensors", () => {
  const whole = loadModel(randomModel(SMALL));
  const decimal = (values, shape) => ({ shape, dtype: "f32", encoding: "decimal",
    data: Array.from(Float32Array.from(values)) });
  assert.deepEqual(predict(loadModel(randomModel(SMALL, { tensor: decimal })), image),
    predict(whole, image));
  const coded = predict(loadModel(randomModel(SMALL, { tensor: int8Tensor })), image);
  const listed = predict(loadModel(randomModel(SMALL, {
    tensor: (values, shape) => int8Tensor(values, shape, "decimal") })), image);
  assert.deepEqual(coded, listed);
  close(coded, predict(whole, image), 0.01);
});

/** int8 as the scripts with models have it; the inverse is src/model.ts. */
const ALPHABET = String.fromCharCode(...Array(127).keys()).slice(32).replace(/["'<\\`]/g, "");
const asciiOf = (v) => v < -44 ? "}" + ALPHABET[-45 - v] : v > 43 ? "~" + ALPHABET[v - 44]
  : ALPHABET[v + 44];

test("dense text of int8", () => {
  const all = Array.from({ length: 256 }, (_, i) => i - 128);
  const values = Array.from({ length: 7840 }, (_, i) => all[(i * 7) % 256]);
  const file = randomModel([{ type: "dense", units: 10 }]);
  const read = (data) => {
    file.tensors["dense_0.weight"] = { shape: [784, 10], dtype: "i8", encoding: "ascii", data,
      scale: Array(10).fill(0.5), axis: 1 };
    return Array.from(loadModel(file).tensors["dense_0.weight"].data);
  };
  const text = values.map(asciiOf).join("");
  assert.deepEqual(read(text), values.map((v) => v / 2));
  const damaged = ["\u00e9", "\u20ac", "\n", '"', "<", "}}", "~~", "}~", "}\u00e9", `}${ALPHABET[84]}`];
  const rest = text.slice(asciiOf(values[0]).length);
  for (const bad of damaged) assert.throws(() => read(bad + rest), /dense_0.weight.*finite/, bad);
  for (const bad of [text.slice(0, -1), text + "  ", text.slice(2) + "}", text + "~", "", null, 7, {}]) {
    assert.throws(() => read(bad), /dense_0.weight/);
  }
});

test("float16 is read to the bit", () => {
  const halves = { 0x0000: 0, 0x8000: -0, 0x0001: 2 ** -24, 0x03ff: 1023 * 2 ** -24,
    0x0400: 2 ** -14, 0x3c00: 1, 0xc000: -2, 0x7bff: 65504, 0x3555: 0.333251953125 };
  const file = randomModel([{ type: "dense", units: 10 }]);
  const bits = Uint16Array.from({ length: 7840 }, (_, i) =>
    Number(Object.keys(halves)[i % 9]));
  file.tensors["dense_0.weight"] = { shape: [784, 10], dtype: "f16", encoding: "base64",
    data: Buffer.from(bits.buffer).toString("base64") };
  const { data } = loadModel(file).tensors["dense_0.weight"];
  Array.from(bits).forEach((half, i) => assert.ok(Object.is(data[i], halves[half])));
  bits[7] = 0x7c00; // infinity
  file.tensors["dense_0.weight"].data = Buffer.from(bits.buffer).toString("base64");
  assert.throws(() => loadModel(file), /finite/);
});

test("classify reads strokes with the model's pen, and nothing into nothing", () => {
  const file = randomModel(SMALL);
  file.preprocessing = { id: "strokes-v1", pen_width: 3 };
  const model = loadModel(file), strokes = [[[0, 0], [1, 3]], [[1, 0]]];
  const reading = classify(model, strokes);
  assert.deepEqual(reading.pixels, rasterize(strokes, { penWidth: 3 }));
  assert.deepEqual(reading.probabilities, predict(model, reading.pixels));
  assert.equal(reading.label, model.labels[reading.prediction]);
  assert.equal(reading.confidence, Math.max(...reading.probabilities));
  assert.equal(reading.sure, reading.confidence >= SURE);
  const empty = classify(model, [[]]);
  assert.deepEqual([empty.prediction, empty.label, empty.sure], [null, null, false]);
});

/** Damage -> what the message must name. */
const DAMAGE = [
  [(f) => { f.format = "other"; }, /mnistc-model/],
  [(f) => { f.version = "2.0"; }, /version/],
  [(f) => { delete f.version; }, /version/],
  [(f) => { f.input.shape = [28, 28, 3]; }, /input/],
  [(f) => { f.input = null; }, /input/],
  [(f) => { f.labels = ["0"]; }, /labels/],
  [(f) => { f.labels[3] = 3; }, /labels/],
  [(f) => { f.labels[3] = "x".repeat(100_000); }, /labels/],
  [(f) => { f.preprocessing = { id: "other" }; }, /strokes-v1/],
  [(f) => { f.preprocessing = { id: "strokes-v1", pen_width: 0 }; }, /pen_width/],
  [(f) => { f.layers = {}; }, /layers/],
  [(f) => { f.layers = Array(1000).fill({ type: "flatten" }); }, /layers/],
  [(f) => { f.layers[0].type = "lstm"; }, /layers\[0\]/],
  [(f) => { f.layers[0].type = "constructor"; }, /layers\[0\]/],
  [(f) => { f.layers[0].type = "__proto__"; }, /layers\[0\]/],
  [(f) => { f.layers[1] = null; }, /layers\[1\]/],
  [(f) => { f.layers[0].activation = "toString"; }, /activation/],
  [(f) => { f.layers[0].kernel_size = [4, 4]; }, /kernel_size/],
  [(f) => { f.layers[0].kernel_size = [1e9 + 1, 1e9 + 1]; }, /layers\[0\]/],
  [(f) => { f.layers[0].kernel_size = [31, 31]; }, /layers\[0\]/],
  [(f) => { f.layers[0].kernel_size = ["3", "3"]; }, /layers\[0\]/],
  [(f) => { f.layers[0].groups = 5; }, /layers\[0\]: wanted possible sizes, got \[5,0\.2,0\.8\]/],
  [(f) => { f.layers[0].groups = 0.5; }, /layers\[0\]: wanted possible sizes/],
  [(f) => { f.layers[0].groups = -1; }, /layers\[0\]/],
  [(f) => { f.layers[0].groups = "1"; }, /layers\[0\]/],
  [(f) => { f.layers[0].padding = "reflect"; }, /padding/],
  [(f) => { f.layers[0].filters = 1e9; }, /layers\[0\]/],
  [(f) => { f.layers[0].filters = -4; }, /layers\[0\]/],
  [(f) => { f.layers[0].filters = 4.5; }, /layers\[0\]/],
  [(f) => { f.layers[0].weight = "hasOwnProperty"; }, /weight/],
  [(f) => { f.layers[0].weight = "__proto__"; }, /weight/],
  [(f) => { f.layers[0].weight = f.layers[0].bias; }, /weight/],
  [(f) => { f.layers[1].pool_size = 0; }, /layers\[1\]/],
  [(f) => { f.layers[1].pool_size = 99; }, /layers\[1\]/],
  [(f) => { f.layers[1].strides = 0.5; }, /layers\[1\]/],
  [(f) => { f.layers[2].units = 11; }, /weight/],
  [(f) => { f.tensors = []; }, /tensors/],
  [(f) => { f.tensors["conv2d_0.weight"] = null; }, /conv2d_0.weight/],
  [(f) => { f.tensors["conv2d_0.weight"].shape = [1e9, 1e9, 1, 1]; }, /conv2d_0.weight/],
  [(f) => { f.tensors["conv2d_0.weight"].shape = [5, 5, 1, 5]; }, /conv2d_0.weight/],
  [(f) => { f.tensors["conv2d_0.weight"].dtype = "f64"; }, /dtype/],
  [(f) => { f.tensors["conv2d_0.weight"].dtype = "constructor"; }, /dtype/],
  [(f) => { f.tensors["conv2d_0.weight"].encoding = "gzip"; }, /encoding/],
  [(f) => { f.tensors["conv2d_0.weight"].data = "AAAA"; }, /conv2d_0.weight/],
  [(f) => { f.tensors["conv2d_0.weight"].data = { length: 100 }; }, /conv2d_0.weight/],
  [(f) => { f.tensors["conv2d_0.weight"].data =
    "*" + f.tensors["conv2d_0.weight"].data.slice(1); }, /conv2d_0.weight/],
  [(f) => { f.tensors["conv2d_0.weight"] = floatTensor(Array(100).fill(NaN), [5, 5, 1, 4]); }, /finite/],
  [(f) => { f.tensors["conv2d_0.weight"] = int8Tensor(Array(100).fill(1), [5, 5, 1, 4]);
    f.tensors["conv2d_0.weight"].scale = [1, 2]; }, /scales/],
  [(f) => { f.tensors["conv2d_0.weight"] = int8Tensor(Array(100).fill(1), [5, 5, 1, 4]);
    f.tensors["conv2d_0.weight"].scale[2] = "1"; }, /scales|finite/],
  [(f) => { f.tensors["conv2d_0.weight"] = { ...int8Tensor(Array(100).fill(1), [5, 5, 1, 4]),
    encoding: "decimal", data: Array(100).fill(300) }; }, /finite/],
];

test("a damaged model is an error that names what is wrong", () => {
  DAMAGE.forEach(([damage, message], i) => {
    const file = copy(randomModel(SMALL));
    damage(file);
    assert.throws(() => loadModel(JSON.stringify(file)), { message }, `damage ${i}: ${damage}`);
  });
  for (const text of ["", "{", "null", "[]", "7", '"x"', "[".repeat(100_000)]) {
    assert.throws(() => loadModel(text), Error);
  }
  for (const value of [null, undefined, 7, [], Symbol.iterator, () => {}]) {
    assert.throws(() => loadModel(value), Error);
  }
});

test("a model that would take forever is refused", () => {
  const slow = [
    { type: "conv2d", filters: 64, kernel_size: [7, 7], padding: "same" },
    { type: "conv2d", filters: 64, kernel_size: [7, 7], padding: "same" },
    { type: "dense", units: 10 },
  ];
  assert.throws(() => loadModel(randomModel(slow)), /multiply-adds/);
  const wide = { type: "conv2d", filters: 400, kernel_size: [1, 1] };
  const layers = (activation) => [wide, ...Array(5).fill({ type: "activation", activation }),
    { type: "global_average_pool2d" }, { type: "dense", units: 10 }];
  assert.ok(loadModel(randomModel(layers("relu"))));
  assert.throws(() => loadModel(randomModel(layers("tanh"))), /multiply-adds/);
  assert.throws(() => loadModel(" ".repeat(1 << 24)), /characters/);
  for (const many of ["7,", "[],", "{},", '"",']) {
    assert.throws(() => loadModel(`[${many.repeat(120_000)}7]`), /names and numbers/);
  }
});

test("a model whose answers are no numbers does not answer", () => {
  const file = randomModel([{ type: "dense", units: 10, activation: "softmax" }]);
  file.tensors["dense_0.weight"] = floatTensor(Array(7840).fill(3e38), [784, 10]);
  const model = loadModel(file);
  assert.throws(() => classify(model, [[[0, 0], [1, 1]]]), /finite answer/);
  assert.equal(classify(model, []).prediction, null);
});

test("a network that ends in logits is read through a softmax", () => {
  const dense = { type: "dense", units: 10 }, flatten = { type: "flatten" };
  const soft = { ...dense, activation: "softmax" }, conv = { type: "conv2d", filters: 10, kernel_size: [5, 5] };
  const pool = { type: "global_average_pool2d" }, last = { type: "activation", activation: "softmax" };
  const model = (...layers) => loadModel(randomModel(layers));
  const read = (...layers) => classify(model(...layers), [[[0, 0], [3, 9]]]).probabilities;
  const near = (a, b) => a.forEach((p, i) => assert.ok(Math.abs(p - b[i]) < 1e-6, `${a}\n${b}`));
  near(read(dense), read(soft));
  near(read(dense, flatten), read(soft));
  near(read(soft, flatten), read(soft));
  near(read(conv, pool), read(conv, pool, last));
  const total = (values) => values.reduce((a, b) => a + b);
  const apart = model({ ...dense, activation: "sigmoid" });
  assert.ok(Math.abs(total(classify(apart, [[[0, 0], [3, 9]]]).probabilities) - 1) > 0.1);
  assert.ok(Math.abs(total(predict(model(dense), image)) - 1) > 1e-3, "predict gives them as they are");
  assert.deepEqual(classify(model(dense), []).probabilities, Array(10).fill(0));
});

test("names from Object.prototype are names like any other", () => {
  const file = copy(randomModel(SMALL));
  const text = JSON.stringify(file).replaceAll("conv2d_0.weight", "__proto__")
    .replaceAll("conv2d_0.bias", "constructor");
  const model = loadModel(text);
  close(predict(model, image), predict(loadModel(file), image), 0);
  assert.equal({}.shape, undefined);
});

test("random damage never does worse than throw", () => {
  const text = JSON.stringify(randomModel(SMALL, { tensor: int8Tensor }));
  const junk = fc.constantFrom(null, -1, 0, 1e9, 1e308, "", "__proto__", [], {}, [[]], true, 0.5);
  fc.assert(fc.property(fc.infiniteStream(fc.nat()), junk, (choices, value) => {
    const file = JSON.parse(text);
    let node = file; // walk to some place in the file and put junk there
    for (;;) {
      const keys = Object.keys(node), key = keys[choices.next().value % keys.length];
      if (node[key] && typeof node[key] == "object" && Object.keys(node[key]).length &&
          choices.next().value % 4) node = node[key];
      else {
        node[key] = value;
        break;
      }
    }
    let model;
    try {
      model = loadModel(JSON.stringify(file));
    } catch (error) {
      return error instanceof Error;
    }
    return predict(model, image).every(Number.isFinite);
  }), { numRuns: 500 });
});
