/** The classic script: window.mnistc, and the elements; an embedded model is appended to it. */
import * as core from "./core.js";
import { define } from "./define.js";
import { MnistDigit } from "./element.js";
import { register, setBase } from "./registry.js";
import { samples } from "./samples.js";

declare global {
  interface Window {
    mnistc?: Record<string, unknown>;
  }
}

// An element with the id "mnistc" is window.mnistc too.
if (!window.mnistc || !window.mnistc.register) {
  const script = document.currentScript as HTMLScriptElement | null;
  if (script) setBase(script.src);
  window.mnistc = { ...core, MnistDigit, register: registerFirst, samples };
}

/** Elements are defined with the first model, so that they find it; without one, with the page. */
function registerFirst(name: string, json: unknown): void {
  register(name, json);
  define();
}

setTimeout(define);
