/** A plain forward pass, slow and readable: the oracle of the network tests. */

const ACTIVATIONS = {
  linear: (row) => row,
  relu: (row) => row.map((v) => Math.max(v, 0)),
  sigmoid: (row) => row.map((v) => 1 / (1 + Math.exp(-v))),
  tanh: (row) => row.map(Math.tanh),
  softmax: (row) => {
    const powers = row.map((v) => Math.exp(v - Math.max(...row)));
    return powers.map((v) => v / powers.reduce((a, b) => a + b));
  },
};

/** The values of one window of image[y][x][channel]; outside it there are zeros. */
function* window(image, y, x, kh, kw) {
  const empty = image[0][0].map(() => 0);
  for (let i = 0; i < kh; i++) {
    for (let j = 0; j < kw; j++) {
      yield [i, j, (image[y + i] && image[y + i][x + j]) || empty];
    }
  }
}

const grid = (height, width, make) =>
  Array.from({ length: height }, (_, y) => Array.from({ length: width }, (_, x) => make(y, x)));

function apply(layer, spec, image) {
  const [height, width, channels] = layer.output;
  const [weight, bias] = layer.tensors.map(({ data }) => data);
  const [kh, kw] = spec.kernel_size || [1, 1];
  const [top, left] = spec.padding == "same" ? [(kh - 1) / 2, (kw - 1) / 2] : [0, 0];
  const each = Array.from({ length: channels }, (_, c) => c);
  switch (layer.type) {
    case "conv2d":
      return grid(height, width, (y, x) => each.map((f) => {
        let sum = bias[f];
        for (const [i, j, values] of window(image, y - top, x - left, kh, kw)) {
          const { groups = 1 } = spec, n = values.length / groups;
          const group = Math.floor(f / (channels / groups));
          values.slice(group * n, group * n + n).forEach((v, c) => {
            sum += v * weight[((i * kw + j) * n + c) * channels + f];
          });
        }
        return sum;
      }));
    case "depthwise_conv2d":
      return grid(height, width, (y, x) => each.map((c) => {
        let sum = bias[c];
        for (const [i, j, values] of window(image, y - top, x - left, kh, kw)) {
          sum += values[c] * weight[(i * kw + j) * channels + c];
        }
        return sum;
      }));
    case "max_pool2d": {
      const { pool_size: size, strides = size } = spec;
      return grid(height, width, (y, x) => each.map((c) => Math.max(
        ...Array.from(window(image, y * strides, x * strides, size, size), ([, , v]) => v[c]))));
    }
    case "batch_norm": {
      const [gamma, beta, mean, variance] = layer.tensors.map(({ data }) => data);
      return image.map((row) => row.map((values) => values.map((v, c) =>
        ((v - mean[c]) / Math.sqrt(variance[c] + spec.epsilon)) * gamma[c] + beta[c])));
    }
    case "global_average_pool2d": {
      const all = image.flat();
      return [[each.map((c) => all.reduce((sum, values) => sum + values[c], 0) / all.length)]];
    }
    case "flatten":
      return [[image.flat(2)]];
    case "dense":
      return [[each.map((u) => image.flat(2).reduce(
        (sum, v, i) => sum + v * weight[i * channels + u], bias[u]))]];
    default:
      return image;
  }
}

/** Probabilities of a loaded model for 784 pixels. */
export function forward(model, pixels) {
  let image = grid(28, 28, (y, x) => [pixels[28 * y + x]]);
  model.layers.forEach((layer, i) => {
    image = apply(layer, model.file.layers[i], image)
      .map((row) => row.map(ACTIVATIONS[layer.activation]));
  });
  return image[0][0];
}
