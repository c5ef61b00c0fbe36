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
  /** Of a convolution's channels and filters. */
  groups: number;
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

/** What JSON.parse gives: nothing is known of it yet. */
type Json = any;

export const MAX_FILE = 1 << 21; // characters
const MAX_MARKS = 120_000;
const MAX_LAYERS = 100;
const MAX_SIZE = 1_500_000; // weights, in one tensor and in all of them; values of an activation
const MAX_WORK = 19_000_000; // multiply-adds of one prediction: some 20 ms
const INPUT = "28,28,1,strokes-v1"; // shape, preprocessing
const ACTIVATIONS = ["linear", "relu", "sigmoid", "tanh", "softmax"];
/** As the bytes of any machine with a browser are: little-endian. */
const TYPES: Json = { f32: Float32Array, f16: Int16Array, i8: Int8Array };

const LAYERS =
  /^(dense|(depthwise_)?conv2d|batch_norm|max_pool2d|global_average_pool2d|flatten|activation)$/;

/** Keys of a type of layer that name tensors. */
const keysOf = (type: string) => /dense|conv/.test(type) ? ["weight", "bias"]
  : type == "batch_norm" ? ["gamma", "beta", "running_mean", "running_var"] : [];

/** Throws one line that names what was wrong and what was wanted, unless all is well. */
function want(ok: unknown, where: string, wanted: string, got?: unknown): asserts ok {
  if (ok) return;
  throw new Error(`${where}: wanted ${wanted}` +
    (got === undefined ? "" : `, got ${JSON.stringify(got)}`.slice(0, 80)));
}

export const product = (shape: Shape): number => shape.reduce((a, b) => a * b, 1);
const isObject = (value: unknown) => Object(value) === value && !Array.isArray(value);

function sizes(value: Json, where: string): Shape {
  want(Array.isArray(value) && value.length < 5 && product(value) <= MAX_SIZE &&
    value.every((n) => n > 0 && n === n >>> 0), where, "possible sizes", value);
  return value;
}

/**
 * Encoding "ascii" of int8, which only embedded models use: a character for each value from -44 to
 * 43 in the order of CODES, its two last ones and a second character for those below and above.
 * Gzip's codes of bytes suit it better than base64's pieces of six bits: a tenth is saved.
 */
const CODES: number[] = [];
for (let c = 32, n = 0; c < 127; c++) if (!/["'<\\`]/.test(String.fromCharCode(c))) CODES[c] = n++;

// Plain loops, here and below: what calls a function for each of a million weights is felt.
function decodeAscii(text: string): Float32Array {
  const values = new Float32Array(text.length);
  let count = 0;
  for (let i = 0; i < text.length; i++) {
    const code = CODES[text.charCodeAt(i)];
    values[count++] = code == 88 ? -45 - CODES[text.charCodeAt(++i)]
      : code == 89 ? 44 + CODES[text.charCodeAt(++i)] : code - 44;
  }
  return values.subarray(0, count);
}

function decodeBase64(text: string, dtype: string): ArrayLike<number> {
  const binary = atob(text), bytes = new Uint8Array(binary.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = binary.charCodeAt(i);
  const values = new TYPES[dtype](bytes.buffer);
  if (dtype != "f16") return values;
  // Bits in their float32 places, the sign filling those above it; exponents are 112 too small.
  const floats = new Float32Array(values.length), bits = new Int32Array(floats.buffer);
  for (let i = 0; i < bits.length; i++) {
    bits[i] = values[i] << 13 & ~(7 << 28);
    floats[i] *= ~values[i] & 31744 ? 2 ** 112 : NaN;
  }
  return floats;
}

/** The numbers that a tensor's data stand for; none where it stands for none. */
function decode({ dtype, encoding, data }: Json, count: number): ArrayLike<number> {
  try {
    if (encoding == "decimal" && Array.isArray(data)) return data;
    if (data.length > 6 * count + 2) return []; // more than any encoding needs
    return encoding == "base64" ? decodeBase64(data, dtype)
      : encoding == "ascii" ? decodeAscii(data) : [];
  } catch {
    return []; // no base64, or bytes left over
  }
}

function readTensor(json: Json, where: string, room: number): Tensor {
  want(isObject(json), where, "a tensor");
  const shape = sizes(json.shape, where), count = product(shape), { dtype } = json;
  want(count <= room, where, `at most ${MAX_SIZE} weights in all`);
  want(Object.keys(TYPES).includes(dtype), where, `dtype (${Object.keys(TYPES)})`, dtype);
  const integer = dtype == "i8", values = decode(json, count);
  want(values.length == count, where, `${count} values, encoding decimal or base64`);
  const channels = integer ? shape[shape.length - 1] : 1, scale = integer ? json.scale : [1];
  want(Array.isArray(scale) && scale.length == channels && scale.every(Number.isFinite),
    where, `${channels} scales`);
  const floats = new Float32Array(count), scales = Float32Array.from(scale);
  let finite = true;
  for (let i = 0, c = 0; i < count; i++) {
    const v = values[i];
    floats[i] = v * scales[c];
    if (++c == channels) c = 0;
    finite = finite && typeof v == "number" && (!integer || v == (v << 24) >> 24) &&
      floats[i] * 0 == 0;
  }
  want(finite, where, "finite numbers");
  return { shape, data: floats };
}

function readLayer(json: Json, index: number, input: Shape, tensors: Record<string, Tensor>): Layer {
  const where = `layers[${index}]`;
  want(isObject(json) && LAYERS.test(json.type), where, "a type of layer", json && json.type);
  const { type, activation = "linear", epsilon = 0 } = json;
  const channels = input[2];
  want(ACTIVATIONS.includes(activation), where, `an activation (${ACTIVATIONS})`, activation);
  want(epsilon >= 0, where, "an epsilon", epsilon);
  const flat = /^(dense|flatten|global)/.test(type);
  let wanted = [channels], window = [1, 1], stride = 1, border = [0, 0], groups = channels;
  if (type == "dense") {
    wanted = sizes([product(input), json.units], where);
  } else if (/conv/.test(type)) {
    window = sizes(json.kernel_size, where);
    want(window.every((k) => k % 2), where, "an odd kernel_size", window);
    const { padding = "valid" } = json;
    want(/^(same|valid)$/.test(padding), where, "padding valid or same", padding);
    if (padding == "same") border = window.map((k) => (k - 1) / 2);
    wanted = [...window, channels];
    if (type == "conv2d") {
      groups = json.groups || 1;
      const { filters } = json, seen = channels / groups;
      sizes([groups, seen, filters / groups], where);
      wanted = sizes([...window, seen, filters], where);
    }
  } else if (type == "max_pool2d") {
    const pool = json.pool_size;
    stride = json.strides || pool;
    window = sizes([pool, pool, stride], where).slice(0, 2);
  } else if (type == "flatten") {
    wanted = [product(input)];
  }
  const [height, width] = window.map((size, i) =>
    flat ? 1 : Math.floor((input[i] + 2 * border[i] - size) / stride) + 1);
  const output = sizes([height, width, ...wanted.slice(-1)], where);
  const own = keysOf(type).map((key) => {
    const tensor = tensors[json[key]], shape = key == "weight" ? wanted : wanted.slice(-1);
    want(tensor && String(tensor.shape) == String(shape), where, `a ${key} of shape ${shape}`,
      json[key]);
    return tensor;
  });
  return {
    type, name: String(json.name || type), activation, input, output, tensors: own, window, stride,
    border, groups, epsilon: +epsilon,
  };
}

/** Multiply-adds of one layer, or what takes as long: a sigmoid is worth some 12. */
const work = ({ activation, output, input, window, tensors }: Layer) => product(output) *
  ((tensors[0] ? tensors[0].data.length / output[2] : product(window)) +
    (/^(lin|rel)/.test(activation) ? 8 : 12)) + product(input);

function parse(json: unknown): Json {
  const text = typeof json == "string";
  // Nesting, names and many numbers are what takes time to parse.
  want(!text || (json.length <= MAX_FILE && json.split(/[[{",]/, MAX_MARKS).length < MAX_MARKS),
    "file", `at most ${MAX_FILE} characters, ${MAX_MARKS} names and numbers`);
  const file: Json = text ? JSON.parse(json) : json;
  want(isObject(file) && file.format == "mnistc-model", "file", "mnistc-model");
  want(/^1\.\d+$/.test(file.version), "version", "1.x", file.version);
  return file;
}

/** A checked model, ready for predict(), of a model file's text or its parsed JSON. */
export function loadModel(json: unknown): Model {
  const file = parse(json), { labels, layers: specs, name = "" } = file;
  const { id = "strokes-v1", pen_width: penWidth = PEN_WIDTH } = file.preprocessing || {};
  const inputShape = file.input && file.input.shape, input = `${[inputShape, id]}`;
  want(input == INPUT, "input", INPUT, input);
  want(isObject(file.tensors), "tensors", "an object");
  want(Array.isArray(specs) && specs.length <= MAX_LAYERS, "layers",
    `at most ${MAX_LAYERS}`);
  const tensors: Record<string, Tensor> = Object.create(null);
  let parameters = 0;
  for (const [key, tensor] of Object.entries(file.tensors)) {
    tensors[key] = readTensor(tensor, `tensor ${key.slice(0, 80)}`, MAX_SIZE - parameters);
    parameters += product(tensors[key].shape);
  }
  let shape: Shape = inputShape, total = 0;
  const layers = specs.map((spec: Json, i: number) => {
    const layer = readLayer(spec, i, shape, tensors);
    total += work(layer);
    want(total <= MAX_WORK, "layers", `at most ${MAX_WORK} multiply-adds`);
    shape = layer.output;
    return layer;
  });
  want(Array.isArray(labels) && labels.length <= 100 &&
    labels.every((label) => typeof label == "string" && label.length <= 40) &&
    String(shape) == `1,1,${labels.length}`, "labels", `${shape} short texts`);
  want(penWidth > 0 && penWidth <= 10, "pen_width", "0 to 10", penWidth);
  return {
    name: `${name}`.slice(0, 80), labels, inputShape, penWidth: +penWidth, parameters, layers, tensors,
    file,
  };
}
