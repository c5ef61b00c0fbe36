/** Every text of the element; {} stands for what is put in. */
export const ENGLISH = {
  name: "Digit recogniser",
  pad: "Drawing pad",
  help: "Draw with the pointer or the keys: arrows move, space lowers and lifts the pen, backspace " +
    "takes back.",
  empty: "Draw a digit",
  sure: "{} sure",
  unsure: "Not sure: {} or {}?",
  cell: "row {}, column {}",
  penDown: "pen down",
  penUp: "pen up",
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
  badModel: "The network could not be loaded: {}",
  badInk: "This cannot be read: {}",
  badPicture: "This picture cannot be read: {}",
  noise: "the browser hides its pixels from pages; drawing works",
};

export type Texts = typeof ENGLISH;

/** The text with its {} filled in, in order. */
export const fill = (text: string, ...values: unknown[]): string =>
  text.replace(/\{\}/g, () => String(values.shift()));
