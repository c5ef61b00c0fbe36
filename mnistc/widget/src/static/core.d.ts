/** mnistc without a page: strokes to pixels to probabilities, in any JavaScript engine. */

/** Pen strokes: lists of points [x, y], y down, in any unit. */
export type Strokes = ArrayLike<ArrayLike<ArrayLike<number>>>;

export interface Tensor {
  shape: number[];
  data: Float32Array;
}

/** A layer as predict()'s trace sees it; shapes are height, width, channels. */
export interface Layer {
  type: string;
  name: string;
  activation: "linear" | "relu" | "sigmoid" | "tanh" | "softmax";
  input: number[];
  output: number[];
  tensors: Tensor[];
}

/** A checked model; treat it as read-only. */
export interface Model {
  name: string;
  labels: string[];
  inputShape: number[];
  /** Width of the strokes-v1 pen, in pixels of the 28 x 28 image. */
  penWidth: number;
  parameters: number;
  layers: Layer[];
  /** Name -> tensor; int8 and float16 are float32 here. */
  tensors: Record<string, Tensor>;
  /** The parsed model file: training, metrics, test vectors. */
  file: Record<string, unknown>;
}

/** What a network makes of a drawing. */
export interface Reading {
  /** Index of the likeliest label; null for an empty drawing. */
  prediction: number | null;
  label: string | null;
  /** Probability of that label, 0 to 1. */
  confidence: number;
  /** Whether confidence is at least SURE. */
  sure: boolean;
  probabilities: number[];
  /** 28 x 28 values row by row, ink 1, paper 0. */
  pixels: Float32Array;
}

/** 0.8: below this confidence the honest answer is "not sure". */
export const SURE: number;

/**
 * Checks a model file (version 1) as untrusted input: its JSON text, or that parsed.
 * Throws an Error whose message names what was wrong and what was wanted.
 */
export function loadModel(json: unknown): Model;

/**
 * strokes-v1: 784 pixels (28 x 28, ink 1) of pen strokes, whatever their place and size.
 * penWidth is 2.4 unless told, above 0 and at most 10. Throws a TypeError for what is no drawing,
 * a RangeError for more than 20,000 points or 10,000 that are 1/16 pixel apart.
 */
export function rasterize(strokes: Strokes, options?: { penWidth?: number | undefined }): Float32Array;

/**
 * The probability of each label for 784 pixels (row by row, ink 1). trace is called with each
 * layer's output, an array that the next prediction overwrites.
 */
export function predict(
  model: Model, pixels: ArrayLike<number>, trace?: (layer: Layer, output: Float32Array) => void,
): number[];

/** rasterize() with the model's pen, then predict(). */
export function classify(model: Model, strokes: Strokes): Reading;

/**
 * 784 pixels of a picture: grey values 0 to 255, row by row. Dark on light or light on dark; best
 * with a digit more than 100 pixels high. Throws a RangeError where nothing stands out.
 */
export function bitmapToPixels(grey: ArrayLike<number>, width: number, height: number): Float32Array;
