/** Corrections, kept in this browser only, and written as JSON lines or CSV in MNIST's layout. */

export interface Correction {
  /** Index of what was really drawn. */
  label: number;
  /** Index of what the network read. */
  prediction: number | null;
  probabilities: number[];
  model: string;
  strokes: number[][][];
  /** 784 grey values, 0 to 255, ink 255. */
  pixels: number[];
}

const KEY = "mnistc-history";
const MOST = 500;

/** Storage may be forbidden, full or broken by others: then there is just no history. */
export function corrections(): Correction[] {
  try {
    const kept: unknown = JSON.parse(localStorage.getItem(KEY)!);
    return Array.isArray(kept) ? kept.filter((c) => c && Array.isArray(c.pixels)) : [];
  } catch {
    return [];
  }
}

export function keep(correction: Correction): void {
  const kept = [...corrections(), correction].slice(-MOST);
  while (kept.length) {
    try {
      return localStorage.setItem(KEY, JSON.stringify(kept));
    } catch {
      kept.splice(0, Math.ceil(kept.length / 2)); // no room: the older half goes
    }
  }
}

export function forget(): void {
  try {
    localStorage.removeItem(KEY);
  } catch {
    /* nothing was kept */
  }
}

export const toJsonLines = (kept: Correction[]): string =>
  kept.map((c) => JSON.stringify(c) + "\n").join("");

export const toCsv = (kept: Correction[]): string =>
  kept.map((c) => [c.label, ...c.pixels].map(Number).join() + "\n").join("");
