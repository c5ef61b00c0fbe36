/** An uploaded picture as grey values. Reading a canvas back is the only way: it is checked. */
import { h } from "./dom.js";
import { want } from "./errors.js";

const LARGEST = 400; // pixels, of the longer side
const MAX_BYTES = 1 << 25;
const PROOF = 16; // rows of known greys below the picture, 16 apart

export interface Grey {
  values: Float32Array;
  width: number;
  height: number;
  canvas: HTMLCanvasElement;
}

/**
 * The grey values of an image file. createImageBitmap, unlike an <img>, needs no permission of the
 * page's Content-Security-Policy, and follows a photograph's orientation.
 */
export async function readPicture(file: Blob): Promise<Grey> {
  want(file.size <= MAX_BYTES, "too large");
  const image = await createImageBitmap(file);
  const scale = Math.min(1, LARGEST / Math.max(image.width, image.height));
  const width = Math.ceil(image.width * scale), height = Math.ceil(image.height * scale);
  const canvas = h("canvas", { width, height: height + PROOF });
  const context = canvas.getContext("2d")!;
  context.fillStyle = "#fff"; // transparency is paper
  context.fillRect(0, 0, width, height);
  context.drawImage(image, 0, 0, width, height);
  for (let i = 0; i < PROOF; i++) {
    context.fillStyle = "#" + (i.toString(16) + 0).repeat(3);
    context.fillRect(0, height + i, width, 1);
  }
  const { data } = context.getImageData(0, 0, width, height + PROOF);
  const values = new Float32Array(data.length / 4), end = width * height;
  for (let i = 0, p = 0; p < data.length; p += 4) {
    values[i++] = 0.299 * data[p] + 0.587 * data[p + 1] + 0.114 * data[p + 2];
  }
  // Protection against fingerprinting gives noise or white; a few last bits do no harm.
  want(values.subarray(end).every((v, i) => Math.abs(v - Math.floor(i / width) * PROOF) <= 5),
    "the browser hides pictures");
  context.clearRect(0, height, width, PROOF);
  return { values: values.subarray(0, end), width, height, canvas };
}
