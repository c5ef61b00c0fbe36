/** Corrections, kept in this browser only, and written as JSON lines or CSV in MNIST's layout. */

import type { Reading } from "./classify.js";

export interface Correction extends Omit<Reading, "label" | "pixels"> {
  /** Index of what was really drawn. */
  label: number;
  model: string;
  strokes: number[][][];
  /** 784 grey values, 0 to 255, ink 255. */
  pixels: number[];
}

const KEY = "mnistc-history";
const MOST = 1 << 20; // characters: a page's whole storage has some five times as many

/** Storage may be forbidden, full or broken by others: then there is just no history. */
export function corrections(): Correction[] {
  try {
    return JSON.parse(localStorage.getItem(KEY)!).filter((c: Correction) => c.pixels.length);
  } catch {
    return [];
  }
}

/** Keeps these corrections, or the latest of them if they are too many; none clears the history. */
export function keep(kept: Correction[]): void {
  const text = JSON.stringify(kept);
  try {
    if (text.length > MOST) throw kept;
    localStorage.setItem(KEY, text);
  } catch {
    if (kept[1]) keep(kept.slice((kept.length >> 3) + 1));
  }
}

/** A correction as a line of text: JSON, or label and pixels as in MNIST's CSV files. */
export const FORMATS: Record<string, (correction: Correction) => string> = {
  jsonl: (c) => JSON.stringify(c) + "\n",
  csv: (c) => [c.label, ...c.pixels].join() + "\n",
};
