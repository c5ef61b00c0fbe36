/** The classic script: window.mnistc, and the elements; an embedded model is appended to it. */
import { MnistDigit } from "./element.js";
import { bitmapToPixels } from "./bitmap.js";
import { classify } from "./classify.js";
import { define } from "./define.js";
import { loadModel } from "./model.js";
import { predict } from "./network.js";
import { register, setBase } from "./registry.js";
import { samples } from "./samples.js";
import { rasterize } from "./strokes.js";

declare global {
  interface Window {
    mnistc?: Record<string, unknown>;
  }
}

// An element with the id "mnistc" is window.mnistc too.
if (!window.mnistc || !window.mnistc.register) {
  const script = document.currentScript as HTMLScriptElement | null;
  if (script) setBase(script.src);
  window.mnistc = { // in an order that compresses well
    samples, MnistDigit, predict, loadModel, rasterize, bitmapToPixels, classify,
    // Elements are defined with the first model, so that they find it; without one, soon.
    register: (name: string, json: unknown) => {
      register(name, json);
      define();
    },
  };
  setTimeout(define);
}
