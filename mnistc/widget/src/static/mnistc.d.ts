/** The elements <mnistc-digit>, <mnist-checker-widget> and <mnist-convolution-checker-widget>. */
import type { Model, Reading } from "./core.js";

export * from "./core.js";

/** Every text of the element; {} stands for what is put in. */
export interface Texts {
  pad: string;
  help: string;
  empty: string;
  percent: string;
  sure: string;
  unsure: string;
  cell: string;
  down: string;
  up: string;
  undo: string;
  redo: string;
  clear: string;
  example: string;
  picture: string;
  predict: string;
  bars: string;
  sees: string;
  wrong: string;
  which: string;
  thanks: string;
  kept: string;
  forget: string;
  inside: string;
  loading: string;
  failed: string;
}

/** Somebody says what they really drew. */
export interface Correction extends Omit<Reading, "label" | "pixels"> {
  /** Index of what was drawn. */
  label: number;
  model: string;
  strokes: number[][][];
  /** 784 grey values, 0 to 255, ink 255. */
  pixels: number[];
}

export class MnistDigit extends HTMLElement {
  /** Texts by language tag; whatever one lacks is English. Set before elements are made. */
  static texts: Record<string, Partial<Texts>>;

  /** The drawing in pad units (0 to 1, y down). Setting it can be undone. */
  strokes: number[][][];
  /** Index of the likeliest label; null for an empty pad or before a prediction. */
  readonly prediction: number | null;
  readonly probabilities: number[];
  /** What the network sees: 28 x 28 values row by row, ink 1. */
  readonly pixels: number[];
  /** Resolves when a model is loaded, rejects when it cannot be. */
  readonly ready: Promise<void>;
  /** The checked model; set it to a model file's JSON, parsed or not. */
  get weights(): Model | null;
  set weights(json: unknown);

  clear(): void;
  undo(): void;
  redo(): void;
  /** Reads the pad now; null without a model. */
  predict(): Reading | null;
  toJSON(): object;
}

/** Makes a model file known under a name, for the attribute `model`. */
export function register(name: string, json: unknown): void;

/** Ten sample digits as strokes in pad units. */
export function samples(): number[][][][];

declare global {
  interface HTMLElementTagNameMap {
    "mnistc-digit": MnistDigit;
    "mnist-checker-widget": MnistDigit;
    "mnist-convolution-checker-widget": MnistDigit;
  }
  interface HTMLElementEventMap {
    "mnistc-load": CustomEvent<{ name: string; labels: string[] }>;
    "mnistc-predict": CustomEvent<Reading>;
    "mnistc-correction": CustomEvent<Correction>;
    "mnistc-error": CustomEvent<{ message: string; error: unknown }>;
  }
}
