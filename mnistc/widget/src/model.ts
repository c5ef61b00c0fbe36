/**
 * Model files, version 1, as untrusted input: every size is checked against a cap before anything
 * is allocated, numbers are finite, layers fit each other, and names that the file chooses are only
 * looked up in objects without a prototype.
 */
import { PEN_WIDTH } from "./strokes.js";

/** Height, width, channels; of a tensor, its own dimensions. */
export type Shape = number[];
export type Activation = "linear" | "relu" | "sigmoid" | "tanh" | "softmax";

export interface Tensor {
  shape: Shape;
  data: Float32Array;
}

/** A checked layer: what it does, what comes in and goes out, and its tensors in order. */
export interface Layer {
  type: string;
  name: string;
  activation: Activation;
  input: Shape;
  output: Shape;
  tensors: Tensor[];
  /** Window of a convolution or a pool, and the steps of a pool. */
  window: Shape;
  stride: number;
  /** Zeros above and left of a convolution's image. */
  border: Shape;
  epsilon: number;
}

export interface Model {
  name: string;
  labels: string[];
  inputShape: Shape;
  penWidth: number;
  parameters: number;
  layers: Layer[];
  tensors: Record<string, Tensor>;
  /** The parsed file, for whatever else it says (training, metrics, test vectors). */
  file: Record<string, unknown>;
}

// eslint-disable-next-line: what JSON.parse gives is looked at as it comes
type Json = any;

export const MAX_FILE = 1 << 23; // characters
const MAX_LAYERS = 100;
const MAX_SIZE = 1 << 22; // weights, in one tensor and in all of them; values of an activation
const MAX_WORK = 4e7; // multiply-adds of one prediction: some 50 ms
const ACTIVATIONS = ["linear", "relu", "sigmoid", "tanh", "softmax"];
const WIDTHS: Json = { __proto__: null, f32: 4, f16: 2, i8: 1 };

/** Tensors of each type of layer. */
const KEYS: Json = {
  __proto__: null,
  dense: ["weight", "bias"],
  conv2d: ["weight", "bias"],
  depthwise_conv2d: ["weight", "bias"],
  batch_norm: ["gamma", "beta", "running_mean", "running_var"],
  max_pool2d: [],
  global_average_pool2d: [],
  flatten: [],
  activation: [],
};

/** Throws one line that names what was wrong and what was wanted, unless all is well. */
function want(ok: unknown, where: string, wanted: string, got?: unknown): asserts ok {
  if (ok) return;
  const error = new Error(`${where}: wanted ${wanted}` +
    (got === undefined ? "" : `, got ${String(JSON.stringify(got)).slice(0, 60)}`));
  error.name = "FormatError";
  throw error;
}

export const product = (shape: Shape): number => shape.reduce((a, b) => a * b, 1);
const isObject = (value: unknown) => typeof value == "object" && value && !Array.isArray(value);

function sizes(value: Json, where: string, length?: number): Shape {
  want(Array.isArray(value) && value.length < 5 && value.length == (length || value.length) &&
    product(value) <= MAX_SIZE && value.every((n) => Number.isInteger(n) && n > 0),
  where, "sizes of a possible array", value);
  return value;
}

function halfToFloat(half: number): number {
  const exponent = (half >> 10) & 31, mantissa = half & 1023;
  const magnitude = exponent == 31 ? NaN
    : exponent ? 2 ** (exponent - 25) * (1024 + mantissa) : 2 ** -24 * mantissa;
  return half >> 15 ? -magnitude : magnitude;
}

/**
 * Encoding "ascii" of int8, which only embedded models use: a character for each value from -44 to
 * 43 in the order of ALPHABET, its two last ones and a second character for those below and above.
 * Gzip's codes of bytes suit it better than base64's pieces of six bits: a tenth is saved.
 */
const ALPHABET = " !#$%()*+,-./0123456789:;=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[]^_abcdefghijklmnopqrstuvwxyz{|}~";

function decodeAscii(text: string, count: number): number[] | null {
  const values: number[] = [];
  let at = 0;
  const next = () => ALPHABET.indexOf(text.charAt(at++) || "\n");
  for (let i = 0; i < count; i++) {
    const code = next(), far = code < 88 ? 0 : next();
    if (code < 0 || far < 0 || far > 83) return null;
    values.push(code < 88 ? code - 44 : code == 88 ? -45 - far : 44 + far);
  }
  return at == text.length ? values : null;
}

function decodeBase64(text: string, count: number, dtype: string): ArrayLike<number> | null {
  const size = count * WIDTHS[dtype];
  if (text.length != Math.ceil(size / 3) * 4 || /[^\w+/=]/.test(text)) return null;
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  if (bytes.length != size) return null;
  if (dtype == "i8") return new Int8Array(bytes.buffer);
  const view = new DataView(bytes.buffer);
  return Float32Array.from({ length: count }, (_, i) =>
    dtype == "f32" ? view.getFloat32(4 * i, true) : halfToFloat(view.getUint16(2 * i, true)));
}

function readTensor(json: Json, where: string, room: number): Tensor {
  want(isObject(json), where, "a tensor");
  const { dtype, encoding, data, scale } = json;
  const shape = sizes(json.shape, where + ".shape");
  const count = product(shape), channels = shape[shape.length - 1];
  want(count <= room, where, `at most ${MAX_SIZE} weights in all`);
  want(WIDTHS[dtype], where + ".dtype", "f32, f16 or i8", dtype);
  let values = null;
  if (encoding == "decimal") {
    if (Array.isArray(data) && data.length == count && data.every((v) => typeof v == "number" &&
        (dtype != "i8" || v == (v << 24) >> 24))) values = data;
  } else if (typeof data == "string") {
    values = encoding == "base64" ? decodeBase64(data, count, dtype)
      : encoding == "ascii" && dtype == "i8" ? decodeAscii(data, count) : null;
  }
  want(values, where + ".data", `${count} values (${dtype}) in encoding decimal or base64`);
  const floats = Float32Array.from(values);
  if (dtype == "i8") {
    want(Array.isArray(scale) && scale.length == channels && scale.every(Number.isFinite) &&
      (json.axis === undefined || json.axis == shape.length - 1), where + ".scale",
    `${channels} numbers, along the last axis`);
    const scales = Float32Array.from(scale);
    for (let i = 0; i < count; i++) floats[i] *= scales[i % channels];
  }
  want(floats.every(Number.isFinite), where, "finite numbers");
  return { shape, data: floats };
}

function readLayer(json: Json, index: number, input: Shape, tensors: Record<string, Tensor>): Layer {
  const where = `layers[${index}]`;
  want(isObject(json) && KEYS[json.type], where + ".type", "a layer", json && json.type);
  const { type, activation = "linear", epsilon = 0 } = json;
  const [height, width, channels] = input;
  want(ACTIVATIONS.includes(activation), where + ".activation", String(ACTIVATIONS), activation);
  want(epsilon >= 0, where + ".epsilon", "a number", epsilon);
  let output = input, wanted = [channels], window = [1, 1], stride = 1, border = [0, 0];
  if (type == "dense") {
    wanted = sizes([product(input), json.units], where + ".units");
    output = [1, 1, json.units];
  } else if (/conv/.test(type)) {
    window = sizes(json.kernel_size, where + ".kernel_size", 2);
    want(window.every((k) => k % 2), where + ".kernel_size", "odd sizes", window);
    const { padding = "valid" } = json, same = padding == "same";
    want(same || padding == "valid", where + ".padding", "valid or same", padding);
    if (same) border = window.map((k) => (k - 1) / 2);
    wanted = [...window, channels];
    if (type == "conv2d") wanted = sizes([...wanted, json.filters], where + ".filters");
    output = [0, 1].map((i) => input[i] + 2 * border[i] - window[i] + 1);
    output.push(wanted[wanted.length - 1]);
  } else if (type == "max_pool2d") {
    const pool = json.pool_size;
    stride = json.strides || pool;
    window = sizes([pool, pool, stride], where + ".pool_size").slice(0, 2);
    output = [height, width].map((size) => Math.floor((size - pool) / stride) + 1);
    output.push(channels);
  } else if (type == "global_average_pool2d") {
    output = [1, 1, channels];
  } else if (type == "flatten") {
    output = [1, 1, product(input)];
  }
  sizes(output, where + " output");
  const own = KEYS[type].map((key: string) => {
    const tensor = tensors[json[key]], shape = key == "weight" ? wanted : wanted.slice(-1);
    want(tensor && String(tensor.shape) == String(shape), `${where}.${key}`,
      `the name of a tensor of shape ${shape}`, json[key]);
    return tensor;
  });
  return {
    type, name: String(json.name || type), activation, input, output, tensors: own, window, stride,
    border, epsilon: +epsilon,
  };
}

/** Multiply-adds (or comparisons) of one layer. */
const work = ({ type, output, input, window }: Layer) => product(output) * product(window) *
  (type == "conv2d" ? input[2] : type == "dense" ? product(input) : 1) + product(input);

function parse(json: unknown): Json {
  let file: Json = json;
  if (typeof json == "string") {
    want(json.length <= MAX_FILE, "model", `at most ${MAX_FILE} characters`);
    try {
      file = JSON.parse(json);
    } catch {
      file = null;
    }
  }
  want(isObject(file) && file.format == "mnistc-model", "model", "a model file (mnistc-model)");
  want(/^1\.\d+$/.test(file.version), "version", "1.x", file.version);
  return file;
}

/** A checked model, ready for predict(), of a model file's text or its parsed JSON. */
export function loadModel(json: unknown): Model {
  const file = parse(json), { labels, layers: specs, preprocessing = {}, name } = file;
  const inputShape = [28, 28, 1], given = file.input && file.input.shape;
  want(String(given) == String(inputShape), "input.shape", String(inputShape), given);
  want(isObject(file.tensors), "tensors", "an object");
  want(Array.isArray(specs) && specs.length && specs.length <= MAX_LAYERS, "layers",
    `1 to ${MAX_LAYERS} layers`);
  const tensors: Record<string, Tensor> = Object.create(null);
  let parameters = 0;
  for (const key of Object.keys(file.tensors)) {
    tensors[key] = readTensor(file.tensors[key], `tensor ${key.slice(0, 40)}`, MAX_SIZE - parameters);
    parameters += product(tensors[key].shape);
  }
  let shape = inputShape, total = 0;
  const layers = specs.map((spec: Json, i: number) => {
    const layer = readLayer(spec, i, shape, tensors);
    total += work(layer);
    want(total <= MAX_WORK, "layers", `at most ${MAX_WORK} multiply-adds`);
    shape = layer.output;
    return layer;
  });
  want(Array.isArray(labels) && labels.length > 1 && labels.length <= 100 &&
    labels.every((label) => typeof label == "string" && label.length <= 40) &&
    String(shape) == `1,1,${labels.length}`, "labels", `${shape} short texts`);
  const penWidth = preprocessing.pen_width === undefined ? PEN_WIDTH : preprocessing.pen_width;
  want(preprocessing.id === undefined || preprocessing.id == "strokes-v1", "preprocessing.id",
    "strokes-v1", preprocessing.id);
  want(penWidth > 0 && penWidth <= 10, "preprocessing.pen_width", "0 to 10", penWidth);
  return {
    name: String(name || "").slice(0, 80), labels, inputShape, penWidth: +penWidth, parameters, layers, tensors,
    file,
  };
}
