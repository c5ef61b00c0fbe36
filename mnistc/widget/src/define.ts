/** The three element names. A page may load this twice: the first one stays. */
import { MnistDigit } from "./element.js";

/** The original's names, with the model that each of them had. */
class Checker extends MnistDigit {
  static override defaultModel = "mlp";
}
class ConvolutionChecker extends MnistDigit {
  static override defaultModel = "cnn";
}

export function define(): void {
  if (!globalThis.customElements) return;
  const names: [string, typeof MnistDigit][] = [
    ["mnistc-digit", MnistDigit],
    ["mnist-checker-widget", Checker],
    ["mnist-convolution-checker-widget", ConvolutionChecker],
  ];
  for (const [name, type] of names) if (!customElements.get(name)) customElements.define(name, type);
}
