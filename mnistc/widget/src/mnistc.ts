/** The ES module: defines the elements; models are files, or register()ed. */
import { define } from "./define.js";
import { setBase } from "./registry.js";

export * from "./core.js";
export { MnistDigit } from "./element.js";
export { register } from "./registry.js";
export { samples } from "./samples.js";

setBase(import.meta.url);
define();
