/** node screenshots.mjs: pictures of the site at MNISTC_SITE, into tests/widget/screenshots. */
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

import { launch } from "./browser/browsers.mjs";
import { folder } from "./browser/site.mjs";

const OUT = fileURLToPath(new URL("screenshots", import.meta.url));
const LOOKS = [
  { name: "light", scheme: "light", digit: 2, width: 1120, height: 860 },
  { name: "dark", scheme: "dark", digit: 8, width: 1120, height: 860 },
  { name: "phone", scheme: "light", digit: 5, width: 360, height: 800, scale: 1.5 },
  { name: "column", scheme: "dark", digit: 9, width: 272, height: 760, scale: 1.5, column: true },
];

await mkdir(OUT, { recursive: true });
const browser = await launch("chromium");
for (const { name, scheme, digit, column, ...view } of LOOKS) {
  await browser.open(pathToFileURL(join(folder, "index.html")).href, {
    ...view, media: [{ name: "prefers-color-scheme", value: scheme }] });
  await browser.run(`const digit = document.querySelector("mnistc-digit");
    await digit.ready;
    if (${!!column}) {
      document.body.replaceChildren(digit);
      document.body.style.padding = "16px";
      digit.shadowRoot.querySelector("details").open = true;
    }
    digit.strokes = mnistc.samples()[${digit}];
    return new Promise((resolve) => setTimeout(resolve, 600));`);
  await browser.screenshot(join(OUT, `${name}.png`));
}
await browser.close();
