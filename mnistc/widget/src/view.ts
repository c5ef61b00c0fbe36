/** The element's user interface: built once, texts and numbers put in as they change. */
import type { Reading } from "./classify.js";
import { h, svg } from "./dom.js";
import * as history from "./history.js";
import type { Model } from "./model.js";
import { predict } from "./network.js";
import type { Pad } from "./pad.js";
import { paint, paintMaps } from "./pixels.js";
import { SIZE } from "./strokes.js";
import { ENGLISH, fill, type Texts } from "./texts.js";

export interface Actions {
  predict(): void;
  example(): void;
  picture(file: Blob): void;
  correct(label: number): void;
}

const ICONS = {
  undo: "M9 5 4 10l5 5M4 10h10a5 5 0 0 1 0 10h-4",
  redo: "m15 5 5 5-5 5M20 10H10a5 5 0 0 0 0 10h4",
  clear: "M5 7h14M10 7V4h4v3M7 7l1 13h8l1-13",
  example: "m12 3 2.5 6.5L21 12l-6.5 2.5L12 21l-2.5-6.5L3 12l6.5-2.5z",
  picture: "M4 5h16v14H4zM4 16l5-5 4 4 3-3 4 4M16 9h.1",
};
const QUIET = 500; // ms without a change before the reading is said aloud

export class View {
  private _texts: Texts = ENGLISH;
  private _percent = new Intl.NumberFormat("en", { style: "percent" });
  private _labels = [..."0123456789"];
  private _model: Model | null = null;
  private _reading: Reading | null = null;
  private _timer = 0;
  private _told: (() => void)[] = []; // put the texts in again, in another language

  private _hint = h("span", { class: "hint", part: "hint" });
  private _digit = h("b", { class: "digit", part: "digit" });
  private _say = h("span", { class: "say", part: "confidence" });
  private _sees = h("canvas", { part: "sees", role: "img", width: SIZE, height: SIZE });
  private _bars = h("ol", { part: "bars", role: "list" });
  private _rows: { row: HTMLElement; bar: HTMLElement; value: HTMLElement }[] = [];
  private _error = h("p", { class: "error", part: "error", role: "alert", hidden: true });
  private _status = h("p", { class: "hidden", role: "status" });
  private _choices = h("div", { class: "choices", role: "group" });
  private _thanks = h("p", { class: "note", role: "status" });
  private _kept = h("p", { class: "note", hidden: true });
  private _count = h("span");
  private _maps = h("div", { class: "maps", part: "maps" });
  private _wrong: HTMLDetailsElement;
  private _inside: HTMLDetailsElement;
  private _undo: HTMLButtonElement;
  private _redo: HTMLButtonElement;
  private _clear: HTMLButtonElement;
  private _predict: HTMLButtonElement;

  constructor(root: ShadowRoot, private _pad: Pad, private _actions: Actions) {
    const file = h("input", { type: "file", accept: "image/*", hidden: true, change: () => {
      this._take(file.files);
      file.value = "";
    } });
    this._undo = this._icon("undo", () => _pad.undo());
    this._redo = this._icon("redo", () => _pad.redo());
    this._clear = this._icon("clear", () => _pad.clear());
    this._predict = this._button("predict", () => _actions.predict(), "main");
    const help = h("span", { id: "help", class: "hidden" });
    _pad.element.append(this._hint);
    _pad.element.setAttribute("aria-describedby", "help");
    this._text("help", (text) => (help.textContent = text));
    this._name(_pad.element, "pad");
    this._name(this._sees, "sees", true);
    this._name(this._bars, "bars");
    this._name(this._choices, "which");
    this._inside = this._details("inside", this._maps);
    this._wrong = this._details("wrong", this._said("which"), this._choices, this._thanks,
      this._kept);
    this._inside.addEventListener("toggle", () => this._showMaps());
    this._wrong.addEventListener("toggle", () => this._showKept());
    this._kept.append(this._count, this._button("json", () => this._save("jsonl"), "", "JSON lines"),
      this._button("csv", () => this._save("csv"), "", "CSV"),
      this._button("forget", () => (history.forget(), this._showKept())));
    const card = h("section", { class: "card", part: "card" },
      h("div", { class: "draw" }, _pad.element, help,
        h("div", { class: "tools", part: "toolbar" }, this._undo, this._redo, this._clear,
          this._icon("example", () => _actions.example()),
          this._icon("picture", () => file.click()), file), this._predict),
      h("div", { class: "read" },
        h("div", { class: "answer", part: "answer" }, h("div", { class: "said" }, this._digit,
          this._say), this._sees), this._bars),
      this._error, this._wrong, this._inside, this._status);
    this._name(card, "name");
    root.append(card, h("slot"));
    this._acceptFiles(card);
    this._makeRows();
    this.update();
  }

  text(key: keyof Texts): string {
    return this._texts[key];
  }

  language(lang: string, texts: Texts): void {
    this._texts = texts;
    try {
      this._percent = new Intl.NumberFormat(lang, { style: "percent" });
    } catch {
      /* no language: numbers stay as they were */
    }
    for (const put of this._told) put();
    this._showKept();
    this.show(this._reading);
  }

  /** Without live prediction there is a button for it. */
  live(on: boolean): void {
    this._predict.hidden = on;
  }

  loading(): void {
    this._say.textContent = this._texts.loading;
  }

  model(model: Model): void {
    this._model = model;
    this._labels = model.labels;
    this._reading = null;
    this._makeRows();
    this.error("");
    this.show(null);
  }

  /** Shows an error (or takes it away) and returns what it says. */
  error(key: keyof Texts | "", detail = ""): string {
    const message = key && fill(this._texts[key], detail);
    this._error.textContent = message;
    this._error.hidden = !message;
    return message;
  }

  /** Buttons and hint, after ink came or went. */
  update(): void {
    this._undo.disabled = !this._pad.canUndo;
    this._redo.disabled = !this._pad.canRedo;
    this._clear.disabled = this._hint.hidden = !this._pad.isEmpty;
    this._clear.disabled = this._pad.isEmpty;
  }

  /** The keyboard's pen has moved: say where it is. */
  tell([x, y]: number[], down: boolean): void {
    clearTimeout(this._timer);
    const cell = fill(this._texts.cell, y + 1, x + 1);
    this._status.textContent = `${cell}, ${this._texts[down ? "penDown" : "penUp"]}`;
  }

  show(reading: Reading | null): void {
    this._reading = reading;
    const { _texts: texts, _labels: labels } = this;
    const seen = reading && reading.label !== null ? reading : null;
    const probabilities = seen ? seen.probabilities : labels.map(() => 0);
    const order = probabilities.map((_, i) => i).sort((a, b) => probabilities[b] - probabilities[a]);
    const share = (i: number) => this._percent.format(probabilities[i]);
    this._digit.textContent = !seen ? "\u2013" : seen.sure ? seen.label! : "?";
    this._digit.classList.toggle("long", !!seen && seen.sure && seen.label!.length > 2);
    const say = !seen ? texts.empty : seen.sure ? fill(texts.sure, share(order[0]))
      : fill(texts.unsure, labels[order[0]], labels[order[1]]);
    this._say.textContent = say;
    this._rows.forEach(({ row, bar, value }, i) => {
      row.classList.toggle("top", !!seen && i == order[0]);
      bar.style.width = `${Math.min(probabilities[i], 1) * 100}%`;
      value.textContent = seen ? share(i) : "";
    });
    const pixels = seen && seen.pixels;
    paint(this._sees, SIZE, SIZE, (x, y) => (pixels ? pixels[y * SIZE + x] : 0));
    this._thanks.textContent = "";
    this._choices.classList.toggle("off", !seen);
    this._showMaps();
    clearTimeout(this._timer);
    if (seen) {
      const aloud = seen.sure ? fill(texts.answer, seen.label, share(order[0])) : say;
      this._timer = window.setTimeout(() => (this._status.textContent = aloud), QUIET);
    }
  }

  thank(label: number): void {
    this._thanks.textContent = fill(this._texts.thanks, this._labels[label]);
    this._showKept();
  }

  private _makeRows(): void {
    this._bars.textContent = this._choices.textContent = "";
    this._rows = this._labels.map((label, i) => {
      const bar = h("i", { part: "bar" }), value = h("span", { class: "value" });
      const row = h("li", {}, h("span", { class: "label" }, label),
        h("span", { class: "track" }, bar), value);
      this._bars.append(row);
      this._choices.append(h("button", { type: "button", part: "button",
        click: () => this._actions.correct(i) }, label));
      return { row, bar, value };
    });
  }

  private _showMaps(): void {
    if (!this._inside.open) return;
    const pixels = this._reading && this._reading.label !== null ? this._reading.pixels : null;
    this._maps.textContent = "";
    if (!this._model || !pixels) return;
    predict(this._model, pixels, (layer, output) => {
      if (/flatten|activation/.test(layer.type)) return;
      const canvas = h("canvas", { role: "img", "aria-label": layer.name });
      paintMaps(canvas, layer.output, output);
      this._maps.append(h("figure", {}, canvas,
        h("figcaption", {}, `${layer.name} ${layer.output.join("\u2009\u00d7\u2009")}`)));
    });
  }

  private _showKept(): void {
    if (!this._wrong.open) return;
    const { length } = history.corrections();
    this._kept.hidden = !length;
    this._count.textContent = fill(this._texts.kept, length);
  }

  private _save(type: "jsonl" | "csv"): void {
    const kept = history.corrections();
    const text = type == "csv" ? history.toCsv(kept) : history.toJsonLines(kept);
    const href = URL.createObjectURL(new Blob([text], { type: "text/plain" }));
    h("a", { href, download: `mnistc.${type}` }).click();
    setTimeout(() => URL.revokeObjectURL(href), 1e4);
  }

  private _acceptFiles(card: HTMLElement): void {
    card.addEventListener("dragover", (e) => e.preventDefault());
    card.addEventListener("drop", (e) => {
      e.preventDefault();
      this._take(e.dataTransfer && e.dataTransfer.files);
    });
    card.addEventListener("paste", (e) => this._take(e.clipboardData && e.clipboardData.files));
  }

  private _take(files: FileList | null): void {
    if (files && files[0]) this._actions.picture(files[0]);
  }

  /** Calls put with a text, now and whenever the language changes. */
  private _text(key: keyof Texts, put: (text: string) => void): void {
    this._told.push(() => put(this._texts[key]));
    put(this._texts[key]);
  }

  private _name(element: HTMLElement, key: keyof Texts, title = false): void {
    this._text(key, (text) => {
      element.setAttribute("aria-label", text);
      if (title) element.title = text;
    });
  }

  private _said(key: keyof Texts): HTMLElement {
    const text = h("p", { class: "note" });
    this._text(key, (said) => (text.textContent = said));
    return text;
  }

  private _button(key: string, click: () => void, kind = "", label = ""): HTMLButtonElement {
    const button = h("button", { type: "button", part: `button ${key}`, class: kind, click }, label);
    if (!label) this._text(key as keyof Texts, (text) => (button.textContent = text));
    return button;
  }

  private _icon(key: keyof typeof ICONS, click: () => void): HTMLButtonElement {
    const button = h("button", { type: "button", part: `button ${key}`, click },
      svg("svg", { viewBox: "0 0 24 24", "aria-hidden": "true" }, svg("path", { d: ICONS[key] })));
    this._name(button, key, true);
    return button;
  }

  private _details(key: keyof Texts, ...content: Node[]): HTMLDetailsElement {
    const summary = h("summary");
    this._text(key, (text) => (summary.textContent = text));
    return h("details", { part: key }, summary, h("div", {}, ...content));
  }
}
