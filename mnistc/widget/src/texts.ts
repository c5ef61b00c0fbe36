/** Every text of the element; {} stands for what is put in. */
export const ENGLISH = {
  pad: "Drawing pad",
  help: "Arrow keys move, space puts the pen down or up, backspace undoes.",
  empty: "Draw a digit",
  percent: "{}%",
  sure: "{} sure",
  unsure: "Not sure: {} or {}?",
  cell: "row {}, column {}, pen {}",
  down: "down",
  up: "up",
  undo: "Undo",
  redo: "Redo",
  clear: "Clear",
  example: "Example",
  picture: "Picture",
  predict: "Predict",
  bars: "Probabilities",
  sees: "What the network sees",
  wrong: "Was I wrong?",
  which: "What did you draw?",
  thanks: "Thanks, noted as {}.",
  kept: "Kept in this browser: {}",
  forget: "Delete",
  inside: "Inside the network",
  loading: "Loading\u2026",
  failed: "That did not work: {}",
};

export type Texts = typeof ENGLISH;

/** The text with its {} filled in, in order. */
export const fill = (text: string, ...values: unknown[]): string =>
  text.replace(/\{\}/g, () => String(values.shift()));
