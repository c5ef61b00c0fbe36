/** Models made up for the tests: small random networks, and every way of storing tensors. */

/** Repeatable uniform numbers in [-1, 1). */
export function randomNumbers(seed) {
  let state = seed >>> 0 || 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 31 - 1;
  };
}

const base64 = (array) => Buffer.from(array.buffer, array.byteOffset, array.byteLength).toString("base64");

export function floatTensor(values, shape) {
  return { shape, dtype: "f32", encoding: "base64", data: base64(Float32Array.from(values)) };
}

/** Symmetric int8 of the last axis, as the Python writer makes it. */
export function int8Tensor(values, shape, encoding = "base64") {
  const channels = shape[shape.length - 1];
  const scale = Array.from({ length: channels }, (_, c) => Math.max(1e-6,
    ...values.filter((_, i) => i % channels == c).map(Math.abs)) / 127);
  const integers = Int8Array.from(values, (v, i) => Math.round(v / scale[i % channels]));
  const data = encoding == "base64" ? base64(integers) : Array.from(integers);
  return { shape, dtype: "i8", encoding, data, scale, axis: shape.length - 1 };
}

export const DIGITS = [..."0123456789"];

/** A model file of some layers without tensors; shapes are (height, width, channels). */
export function randomModel(layers, { seed = 1, tensor = floatTensor, labels = DIGITS } = {}) {
  const random = randomNumbers(seed), tensors = {};
  const file = { format: "mnistc-model", version: "1.0", name: "random", labels,
    input: { shape: [28, 28, 1], range: [0, 1], polarity: "ink-is-one" }, layers: [], tensors };
  let [h, w, c] = [28, 28, 1];
  layers.forEach((layer, i) => {
    const name = `${layer.type}_${i}`, made = { name, ...layer };
    const add = (key, shape, make = floatTensor, positive = false) => {
      const size = shape.reduce((a, b) => a * b, 1), scale = 1 / Math.sqrt(size / shape[shape.length - 1]);
      const values = Array.from({ length: size }, () =>
        (positive ? 1.5 + random() : random() * scale * 2));
      made[key] = `${name}.${key}`;
      tensors[made[key]] = make(values, shape);
    };
    const same = layer.padding == "same";
    if (layer.type == "dense") {
      add("weight", [h * w * c, layer.units], tensor);
      [h, w, c] = [1, 1, layer.units];
    } else if (/conv/.test(layer.type)) {
      const [kh, kw] = layer.kernel_size, { groups = 1, filters } = layer;
      add("weight", layer.type == "conv2d" ? [kh, kw, c / groups, filters] : [kh, kw, c], tensor);
      if (!same) [h, w] = [h - kh + 1, w - kw + 1];
      c = layer.filters || c;
    } else if (layer.type == "max_pool2d") {
      const { pool_size: size, strides = size } = layer;
      [h, w] = [h, w].map((n) => Math.floor((n - size) / strides) + 1);
    } else if (layer.type == "batch_norm") {
      for (const key of ["gamma", "beta", "running_mean"]) add(key, [c]);
      add("running_var", [c], floatTensor, true);
    } else if (layer.type == "global_average_pool2d") {
      [h, w] = [1, 1];
    } else if (layer.type == "flatten") {
      [h, w, c] = [1, 1, h * w * c];
    }
    if (made.weight) add("bias", [c]);
    file.layers.push(made);
  });
  return file;
}

/** Every type of layer, both paddings, odd numbers of channels, oblong kernels. */
export const EVERYTHING = [
  { type: "conv2d", filters: 5, kernel_size: [3, 5], padding: "same", activation: "relu" },
  { type: "batch_norm", epsilon: 0.001 },
  { type: "max_pool2d", pool_size: 3, strides: 2 },
  { type: "depthwise_conv2d", kernel_size: [3, 3], padding: "same", activation: "tanh" },
  { type: "conv2d", filters: 15, kernel_size: [3, 1], padding: "same", groups: 5 },
  { type: "conv2d", filters: 10, kernel_size: [1, 1], padding: "valid", groups: 5 },
  { type: "conv2d", filters: 7, kernel_size: [3, 3], padding: "valid", activation: "linear" },
  { type: "activation", activation: "relu" },
  { type: "depthwise_conv2d", kernel_size: [1, 3], padding: "valid" },
  { type: "conv2d", filters: 8, kernel_size: [1, 1], padding: "valid", activation: "sigmoid" },
  { type: "global_average_pool2d" },
  { type: "flatten" },
  { type: "dense", units: 12, activation: "tanh" },
  { type: "dense", units: 10, activation: "softmax" },
];

export const SMALL = [
  { type: "conv2d", filters: 4, kernel_size: [5, 5], padding: "valid", activation: "relu" },
  { type: "max_pool2d", pool_size: 4 },
  { type: "dense", units: 10, activation: "softmax" },
];
