import { highest } from "./strokes.js";

/** Images of numbers, painted and never read back: black ink of that strength, no paper. */
export function paint(
  canvas: HTMLCanvasElement, width: number, height: number, ink: (x: number, y: number) => number,
): void {
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d")!;
  const image = context.createImageData(width, height);
  for (let y = 0, p = 3; y < height; y++) {
    for (let x = 0; x < width; x++, p += 4) image.data[p] = 255 * ink(x, y);
  }
  context.putImageData(image, 0, 0);
}

/** All channels of a layer's output (height, width, channels), side by side, 1 pixel apart. */
export function paintMaps(canvas: HTMLCanvasElement, shape: number[], values: Float32Array): void {
  const [height, width, channels] = shape;
  const gap = height > 1 ? 1 : 0;
  const columns = Math.min(channels, gap ? 8 : 25);
  const range = highest(values.map(Math.abs)) || 1;
  const w = width + gap, h = height + gap;
  paint(canvas, columns * w - gap, Math.ceil(channels / columns) * h - gap, (x, y) => {
    const channel = Math.floor(y / h) * columns + Math.floor(x / w);
    const i = y % h, j = x % w;
    if (channel >= channels || i == height || j == width) return 0;
    return Math.abs(values[(i * width + j) * channels + channel]) / range;
  });
}
