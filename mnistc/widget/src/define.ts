/** The three element names. A page may load this twice: the first one stays. */
import { MnistDigit } from "./element.js";

/** The original's names stand for the model that each of them had. */
const NAMES = {
  "mnistc-digit": null,
  "mnist-checker-widget": "mlp",
  "mnist-convolution-checker-widget": "cnn",
};

export function define(): void {
  if (!globalThis.customElements) return;
  for (const [name, model] of Object.entries(NAMES)) {
    if (!customElements.get(name)) {
      customElements.define(name, model ? class extends MnistDigit {
        static override _default = model;
      } : MnistDigit);
    }
  }
}
