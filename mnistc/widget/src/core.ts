/** The recogniser without a page: runs in any JavaScript engine, Node included. */
export { bitmapToPixels } from "./bitmap.js";
export { loadModel } from "./model.js";
export { predict } from "./network.js";
export { rasterize } from "./strokes.js";
export { classify, SURE } from "./classify.js";
