/** Every text of the element; {} stands for what is put in. In an order that compresses well. */
export const ENGLISH = {
  clear: "Clear",
  example: "Example",
  loading: "Loading\u2026",
  cell: "row {}, column {}, pen {}",
  pad: "Drawing pad",
  down: "down",
  unsure: "Not sure: {} or {}?",
  sure: "{} sure",
  undo: "Undo",
  forget: "Delete",
  up: "up",
  empty: "Draw a digit",
  help: "Arrow keys move, space puts the pen down or up, backspace undoes.",
  wrong: "Was I wrong?",
  sees: "What the network sees",
  thanks: "Thanks, noted as {}.",
  which: "What did you draw?",
  predict: "Predict",
  bars: "Probabilities",
  kept: "Kept in this browser: {}",
  percent: "{}%",
  inside: "Inside the network",
  redo: "Redo",
  failed: "That did not work: {}",
  picture: "Picture",
};

export type Texts = typeof ENGLISH;

/** The text with its {} filled in, in order. */
export const fill = (text: string, ...values: unknown[]): string =>
  text.replace(/\{\}/g, () => String(values.shift()));
