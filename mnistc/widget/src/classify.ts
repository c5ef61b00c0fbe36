import { want } from "./errors.js";
import type { Model } from "./model.js";
import { activate, predict } from "./network.js";
import { rasterize, type Strokes } from "./strokes.js";

/** What a network makes of a drawing. */
export interface Reading {
  /** Index of the likeliest label; null for an empty drawing. */
  prediction: number | null;
  /** Its text; null for an empty drawing. */
  label: string | null;
  /** Its probability, 0 to 1. */
  confidence: number;
  /** Whether the network is sure enough to say so (confidence of at least SURE). */
  sure: boolean;
  probabilities: number[];
  pixels: Float32Array;
}

/** Below this confidence the honest answer is "not sure". */
export const SURE = 0.8;

/** The reading of 784 pixels; nothing is read into a blank image. */
export function read(model: Model, pixels: Float32Array): Reading {
  const blank = !pixels.some((v) => v > 0);
  const probabilities = blank ? model.labels.map(() => 0) : predict(model, pixels);
  // A last layer without an activation gives logits, whatever they pass through.
  const logits = model.layers.reduce((before: unknown, layer) =>
    layer.activation == "linear" && (layer.tensors[0] || before), 0);
  if (logits && !blank) activate("softmax", probabilities);
  const confidence = Math.max(...probabilities);
  want(isFinite(confidence), "no finite answer");
  const prediction = blank ? null : probabilities.indexOf(confidence);
  const label = blank ? null : model.labels[prediction!];
  return { prediction, label, confidence, sure: confidence >= SURE, probabilities, pixels };
}

/** The reading of a drawing: strokes as pen strokes, y down, in any unit. */
export function classify(model: Model, strokes: Strokes): Reading {
  return read(model, rasterize(strokes, model));
}
