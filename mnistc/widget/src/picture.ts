/** An uploaded picture as grey values. Reading a canvas back is the only way: it is checked. */

const LARGEST = 400; // pixels, of the longer side
const MAX_BYTES = 1 << 25;
const PROOF = 16; // rows of known pixels drawn below the picture

export interface Grey {
  values: Float32Array;
  width: number;
  height: number;
  canvas: HTMLCanvasElement;
}

function decode(file: Blob): Promise<ImageBitmap | HTMLImageElement> {
  if ("createImageBitmap" in window) return createImageBitmap(file);
  return new Promise((resolve, reject) => {
    const image = new Image();
    image.onload = () => resolve(image);
    image.onerror = () => reject(new Error("no image"));
    image.src = URL.createObjectURL(file);
  });
}

const known = (i: number) => (i * 89) & 255;

/** The grey values of an image file; null where the browser does not give its true pixels. */
export async function readPicture(file: Blob): Promise<Grey | null> {
  if (file.size > MAX_BYTES) throw new Error(`at most ${MAX_BYTES} bytes`);
  const image = await decode(file);
  const scale = Math.min(1, LARGEST / Math.max(image.width, image.height));
  const width = Math.max(1, Math.round(image.width * scale));
  const height = Math.max(1, Math.round(image.height * scale));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(width, PROOF);
  canvas.height = height + PROOF;
  const context = canvas.getContext("2d", { willReadFrequently: true })!;
  context.fillStyle = "#fff"; // transparency is paper
  context.fillRect(0, 0, canvas.width, height);
  context.drawImage(image, 0, 0, width, height);
  const proof = context.createImageData(PROOF, PROOF);
  for (let i = 0; i < proof.data.length; i++) proof.data[i] = i % 4 == 3 ? 255 : known(i);
  context.putImageData(proof, 0, height);
  const back = context.getImageData(0, height, PROOF, PROOF).data;
  // Protection against fingerprinting gives noise or white; a few last bits do no harm.
  if (back.some((v, i) => i % 4 != 3 && Math.abs(v - known(i)) > 4)) return null;
  const data = context.getImageData(0, 0, width, height).data;
  const values = Float32Array.from({ length: width * height }, (_, i) =>
    0.299 * data[4 * i] + 0.587 * data[4 * i + 1] + 0.114 * data[4 * i + 2]);
  return { values, width, height, canvas };
}
