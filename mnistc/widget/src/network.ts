/**
 * A network's forward pass in plain JavaScript: channels last, one image at a time, buffers
 * allocated once. Weights are repacked on the first prediction.
 */
import { want } from "./errors.js";
import { product, type Activation, type Layer, type Model } from "./model.js";

/** Writes a layer's output for an input. */
type Step = (x: Float32Array, out: Float32Array) => void;

export function activate(kind: Activation, x: Float32Array | number[], channels = x.length): void {
  if (kind == "softmax") {
    for (let at = 0; at < x.length; at += channels) {
      const end = at + channels;
      let top = -Infinity, sum = 0;
      for (let i = at; i < end; i++) top = Math.max(top, x[i]);
      for (let i = at; i < end; i++) sum += x[i] = Math.exp(x[i] - top);
      for (let i = at; i < end; i++) x[i] /= sum;
    }
  } else if (kind != "linear") {
    for (let i = 0; i < x.length; i++) {
      const v = x[i];
      x[i] = kind == "relu" ? (v > 0 ? v : 0)
        : kind == "tanh" ? Math.tanh(v) : 1 / (1 + Math.exp(-v));
    }
  }
}

/** weight (in, out). Most of an image's pixels, and many a ReLU's outputs, are 0: skip them. */
function dense({ output: [, , units], tensors: [weight, bias] }: Layer): Step {
  const w = weight.data, sum = new Float64Array(units);
  return (x, out) => {
    sum.set(bias.data);
    for (let i = 0, p = 0; i < x.length; i++, p += units) {
      const v = x[i];
      if (v) for (let j = 0; j < units; j++) sum[j] += v * w[p + j];
    }
    out.set(sum);
  };
}

/**
 * Convolution: 4 filters of 2 neighbouring pixels at once, so that eight sums stay in registers.
 * A kernel row times the channels of a group is contiguous in both the image and the weights, which
 * are packed as (groups, filters of a group / 4, kh, kw * channels, 4). Depthwise is as many groups
 * as channels.
 */
function conv2d(layer: Layer): Step {
  const { input: [lines, columns, all], output: [height, width, filters], window: [kh, kw],
    border: [top, left], groups, tensors: [weight, bias] } = layer;
  const channels = all / groups, span = kw * channels, size = kh * span;
  const each = filters / groups, slots = (each + 3) & ~3;
  const row = (width + kw - 1) * channels, x = new Float32Array((height + kh - 1) * row);
  const packed = new Float32Array(groups * slots * size), start = new Float32Array(groups * slots);
  for (let f = 0; f < filters; f++) {
    const s = Math.floor(f / each) * (slots - each) + f;
    start[s] = bias.data[f];
    for (let k = 0; k < size; k++) {
      packed[((s >> 2) * size + k) * 4 + (s & 3)] = weight.data[k * filters + f];
    }
  }

  /** Filters f to f + 3 of the pixels whose windows begin at first and second. */
  function pixels(first: number, second: number, f: number) {
    let s0 = start[f], s1 = start[f + 1], s2 = start[f + 2], s3 = start[f + 3];
    let t0 = s0, t1 = s1, t2 = s2, t3 = s3;
    let p = f * size;
    for (let ky = 0; ky < kh; ky++, first += row, second += row) {
      for (let k = 0; k < span; k++, p += 4) {
        const u = x[first + k], v = x[second + k];
        const w0 = packed[p], w1 = packed[p + 1], w2 = packed[p + 2], w3 = packed[p + 3];
        s0 += u * w0; s1 += u * w1; s2 += u * w2; s3 += u * w3;
        t0 += v * w0; t1 += v * w1; t2 += v * w2; t3 += v * w3;
      }
    }
    tile[0] = s0; tile[1] = s1; tile[2] = s2; tile[3] = s3;
    tile[4] = t0; tile[5] = t1; tile[6] = t2; tile[7] = t3;
  }

  const tile = new Float64Array(8);
  return (image, out) => {
    for (let group = 0; group < groups; group++) {
      for (let p = 0; p < lines * columns; p++) { // its channels, within a border of zeros
        const to = Math.floor(p / columns + top) * row + (p % columns + left) * channels;
        for (let c = 0; c < channels; c++) x[to + c] = image[p * all + group * channels + c];
      }
      for (let f = 0; f < each; f += 4) {
        for (let i = 0; i < height; i++) {
          for (let j = 0; j < width; j += 2) {
            const next = Math.min(j + 1, width - 1);
            const to = (i * width + j) * filters + group * each + f;
            pixels(i * row + j * channels, i * row + next * channels, group * slots + f);
            for (let k = 0; k < 4 && f + k < each; k++) {
              out[to + k] = tile[k];
              if (next > j) out[to + filters + k] = tile[4 + k];
            }
          }
        }
      }
    }
  };
}

function maxPool({ input, output: [height, width, channels], window: [size], stride }: Layer): Step {
  const row = input[1] * channels, offsets: number[] = [];
  for (let k = 0; k < size * size; k++) {
    offsets.push(Math.floor(k / size) * row + (k % size) * channels);
  }
  return (x, out) => {
    let to = 0;
    for (let i = 0; i < height; i++) {
      for (let j = 0; j < width; j++) {
        for (let c = 0; c < channels; c++) {
          let sum = -Infinity;
          for (let k = 0; k < offsets.length; k++) {
            sum = Math.max(sum, x[(i * row + j * channels) * stride + offsets[k] + c]);
          }
          out[to++] = sum;
        }
      }
    }
  };
}

function averagePool({ output: [, , channels] }: Layer): Step {
  return (x, out) => {
    out.fill(0);
    for (let i = 0; i < x.length; i++) out[i % channels] += (x[i] * channels) / x.length;
  };
}

function batchNorm({ tensors, epsilon }: Layer): Step {
  const [gamma, beta, mean, variance] = tensors.map((tensor) => tensor.data);
  const factor = Float64Array.from(gamma, (v, c) => v / Math.sqrt(variance[c] + epsilon));
  return (x, out) => {
    for (let i = 0; i < x.length; i++) {
      const c = i % factor.length;
      out[i] = (x[i] - mean[c]) * factor[c] + beta[c];
    }
  };
}

const STEPS: Record<string, (layer: Layer) => Step> = {
  dense, conv2d, depthwise_conv2d: conv2d, max_pool2d: maxPool,
  global_average_pool2d: averagePool, batch_norm: batchNorm,
};

/** Each layer's step with its output; reshaping and activations just copy. */
const compiled = new WeakMap<Model, [Step, Float32Array][]>();

function compile(model: Model): [Step, Float32Array][] {
  return model.layers.map((layer) => [
    STEPS[layer.type] ? STEPS[layer.type](layer) : (x, out) => out.set(x),
    new Float32Array(product(layer.output)),
  ]);
}

/** Called with each layer's output; the array is overwritten by the next prediction. */
export type Trace = (layer: Layer, output: Float32Array) => void;

/** The network's output, as a rule the probability of each label, for 784 pixels (row-major, ink 1, paper 0). */
export function predict(model: Model, pixels: ArrayLike<number>, trace?: Trace): number[] {
  want(pixels.length == 784, "pixels: wanted 784 numbers", TypeError);
  let steps = compiled.get(model);
  if (!steps) compiled.set(model, (steps = compile(model)));
  let x: Float32Array = Float32Array.from(pixels);
  steps.forEach(([step, out], i) => {
    const layer = model.layers[i];
    step(x, out);
    activate(layer.activation, out, layer.output[2]);
    x = out;
    if (trace) trace(layer, out);
  });
  return [...x];
}
