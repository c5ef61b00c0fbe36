/** The element's user interface, built anew for other texts or labels. */
import type { Reading } from "./classify.js";
import { h } from "./dom.js";
import { corrections, FORMATS, keep } from "./history.js";
import type { Model } from "./model.js";
import { predict } from "./network.js";
import type { Pad } from "./pad.js";
import { paint, paintMaps } from "./pixels.js";
import { SIZE } from "./strokes.js";
import { fill, type Texts } from "./texts.js";

/** What the element does for its user interface. */
export interface Host extends HTMLElement {
  readonly _pad: Pad;
  readonly _error: HTMLElement;
  undo(): void;
  redo(): void;
  clear(): void;
  predict(): void;
  _example(): void;
  _picture(file: Blob): void;
  _correct(label: number): void;
}

export type View = ReturnType<typeof createView>;

const ICONS = {
  clear: "M5 7h14M10 7V4h4v3M7 7l1 13h8l1-13",
  redo: "m15 5 5 5-5 5M20 10H10a5 5 0 0 0 0 10h4",
  undo: "M9 5 4 10l5 5M4 10h10a5 5 0 0 1 0 10h-4",
  example: "M12 3q1 8 9 9-8 1-9 9-1-8-9-9 8-1 9-9",
  picture: "M4 5h16v14H4zM4 16l5-5 4 4 3-3 4 4",
};
const QUIET = 500; // ms without a change before the reading is said aloud

const button = (name: string, label: string, click: () => void, child: Node | string = label) =>
  h("button", { type: "button", part: `button ${name}`, "aria-label": label, title: label, click },
    child);

/** What was kept of corrections, with its downloads. */
function keptView(texts: Texts, changed: () => void): Node[] {
  const kept = corrections();
  return kept.length ? [
    h("p", {}, fill(texts.kept, kept.length)),
    ...Object.entries(FORMATS).map(([type, line]) => button(type, type.toUpperCase(), () => {
      const href = URL.createObjectURL(new Blob(kept.map(line)));
      h("a", { href, download: `mnistc.${type}` }).click();
      setTimeout(() => URL.revokeObjectURL(href), 1e4);
    })),
    button("forget", texts.forget, () => (keep([]), changed())),
  ] : [];
}

/** A picture of each layer's output, for as many as any sensible network has. */
function mapsView(model: Model, pixels: Float32Array): HTMLElement[] {
  const figures: HTMLElement[] = [];
  predict(model, pixels, ({ type, name, output }, values) => {
    if (figures.length > 19 || /flatten|activation/.test(type)) return;
    const canvas = h("canvas", { role: "img", "aria-label": name });
    paintMaps(canvas, output, values);
    figures.push(h("figure", {}, canvas, h("figcaption", {}, `${name} ${output.join(" \xd7 ")}`)));
  });
  return figures;
}

export function createView(
  host: Host, texts: Texts, model: Model | null,
) {
  const pad = host._pad;
  // No network is ever 100 % sure.
  const percent = (p: number) => fill(texts.percent, Math.min(Math.round(p * 100), 99));
  const labels = model ? model.labels : [..."0123456789"];
  let reading: Reading | null, timer: number;

  const digit = h("b", { part: "digit" }), say = h("span", { part: "confidence" });
  const sees = h("canvas", { part: "sees", role: "img", "aria-label": texts.sees });
  const status = h("p", { class: "hidden", role: "status" });
  const thanks = h("p", { role: "status" }), kept = h("div"), maps = h("div", { part: "maps" });
  const hint = h("span", { class: "hint", part: "hint" }, texts.empty);
  const file = h("input", { type: "file", accept: "image/*", hidden: "",
    change: () => (take(file.files), (file.value = "")) });
  const take = (files?: FileList | null) => files && files[0] && host._picture(files[0]);

  const icon = (key: keyof typeof ICONS, click: () => void) => button(key, texts[key], click,
    h("svg", { viewBox: "0 0 24 24" }, h("path", { d: ICONS[key] })));
  const [undo, redo, clear] = (["undo", "redo", "clear"] as const).map((key) =>
    icon(key, () => host[key]()));
  const manual = button("predict", texts.predict, () => host.predict());

  const rows = labels.map((label) => {
    const bar = h("i", { part: "bar" }), value = h("span");
    const row = h("li", {}, h("b", {}, label), h("span", { class: "track" }, bar), value);
    return [row, bar, value];
  });
  const choices = h("div", { role: "group", "aria-label": texts.which },
    ...labels.map((label, i) => button("choice", label, () => host._correct(i))));
  const details = (key: "wrong" | "inside", toggle: () => void, ...content: Node[]) =>
    h("details", { part: key, toggle }, h("summary", {}, texts[key]), ...content);
  const inside = details("inside", () => showMaps(), maps);
  const wrong = details("wrong", () => showKept(), h("p", {}, texts.which), choices, thanks, kept);

  pad.element.setAttribute("aria-label", texts.pad);
  // The pad stays where it is: out of the page it would lose the keyboard, and the finger on it.
  const draw = pad.element.parentElement || h("div", { class: "draw" }, pad.element);
  const card = draw.parentElement || host.shadowRoot!.insertBefore(h("section", {
    part: "card",
    dragover: (e: Event) => e.preventDefault(),
    drop: (e: DragEvent) => (e.preventDefault(), take(e.dataTransfer!.files)),
  }, draw), host.shadowRoot!.firstChild);
  draw.append(hint, h("span", { id: "help", class: "hidden" }, texts.help),
    h("div", { class: "tools", part: "toolbar" }, undo, redo, clear,
      icon("example", () => host._example()), icon("picture", () => file.click()), file), manual);
  card.append(h("div", {},
    h("div", { class: "answer", part: "answer" }, h("div", {}, digit, say), sees),
    h("ol", { part: "bars", role: "list", "aria-label": texts.bars },
      ...rows.map(([row]) => row))), host._error, wrong, inside, status);

  function replace(parent: Element, ...children: Node[]): void {
    parent.textContent = "";
    parent.append(...children);
  }

  function showMaps(): void {
    replace(maps, ...(reading && inside.open ? mapsView(model!, reading.pixels) : []));
  }

  function showKept(): void {
    if (wrong.open) replace(kept, ...keptView(texts, showKept));
  }

  return {
    texts, labels,
    /** Removes all but the pad. */
    discard(): void {
      clearTimeout(timer);
      for (const parent of [draw, card]) [...parent.children].forEach((e, i) => i && e.remove());
    },

    /** The keyboard's pen has moved: say where it is. */
    tell([x, y]: number[], down: boolean): void {
      clearTimeout(timer);
      status.textContent =
        fill(texts.cell, y + 1, x + 1, texts[down ? "down" : "up"]);
    },

    /** Buttons and hint, after ink came or went. */
    update(live: boolean): void {
      undo.disabled = !pad.past[0];
      redo.disabled = !pad.future[0];
      clear.disabled = pad.isEmpty;
      hint.hidden = !pad.isEmpty;
      manual.hidden = live;
    },

    thank(label: number): void {
      thanks.textContent = fill(texts.thanks, labels[label]);
      showKept();
    },

    /** Shows a reading, or that there is none. */
    show(latest: Reading | null): void {
      reading = latest && latest.label !== null ? latest : null;
      const now = reading, values = now ? now.probabilities : labels.map(() => 0);
      const [first, second] = values.map((_, i) => i).sort((a, b) => values[b] - values[a]);
      const best = percent(values[first]);
      digit.textContent = !now ? "\u2013" : now.sure ? now.label! : "?";
      say.textContent = !now ? model ? texts.empty : host._error.textContent ? "" : texts.loading
        : now.sure ? fill(texts.sure, best) : fill(texts.unsure, labels[first], labels[second]);
      rows.forEach(([row, bar, value], i) => {
        row.className = now && i == first ? "top" : "";
        bar.style.width = `${values[i] * 100}%`;
        value.textContent = now ? percent(values[i]) : "";
      });
      paint(sees, SIZE, SIZE, (x, y) => (now ? now.pixels[y * SIZE + x] : 0));
      thanks.textContent = "";
      choices.hidden = !now;
      showMaps();
      clearTimeout(timer);
      const aloud = now ? (now.sure ? now.label + ", " : "") + say.textContent : "";
      timer = setTimeout(() => (status.textContent = aloud), QUIET);
    },
  };
}
