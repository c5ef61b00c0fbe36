const MOST = 80; // channels: more of them take long to paint

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

/** Channels of a layer's output (height, width, channels), side by side, 1 pixel apart. */
export function paintMaps(canvas: HTMLCanvasElement, shape: number[], values: Float32Array): void {
  const [height, width, channels] = shape, w = width + 1, h = height + 1;
  const shown = Math.min(channels, MOST), columns = Math.min(shown, width > 1 ? 8 : 20);
  let range = 0;
  for (let i = 0; i < values.length; i++) range = Math.max(range, Math.abs(values[i]));
  paint(canvas, columns * w - 1, Math.ceil(shown / columns) * h - 1, (x, y) => {
    const channel = Math.floor(y / h) * columns + Math.floor(x / w);
    const i = y % h, j = x % w;
    if (channel >= shown || i == height || j == width) return 0;
    return Math.abs(values[(i * width + j) * channels + channel]) / range;
  });
}
