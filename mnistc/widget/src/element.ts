/** <mnistc-digit>: a pad to draw on, and what a network reads in it. */
import { bitmapToPixels } from "./bitmap.js";
import { read, type Reading } from "./classify.js";
import * as history from "./history.js";
import { loadModel, type Model } from "./model.js";
import { Pad, type Ink } from "./pad.js";
import { readPicture } from "./picture.js";
import { beside, embeddedModel, fetchModel } from "./registry.js";
import { samples } from "./samples.js";
import { PIXELS, rasterize } from "./strokes.js";
import { adoptStyle } from "./style.js";
import { ENGLISH, type Texts } from "./texts.js";
import { View } from "./view.js";

// Importing this file where there is no page (server-side rendering) must not fail.
const Base = (globalThis.HTMLElement || class {}) as typeof HTMLElement;
const EXAMPLE_TIME = 500; // ms that an example takes to be drawn

export class MnistDigit extends Base {
  static observedAttributes = ["src", "model", "live", "lang", "nonce"];
  /** Texts by language; whatever one lacks is English. */
  static texts: Record<string, Partial<Texts>> = { en: ENGLISH };
  /** The model that an element without the attributes src and model wants. */
  static defaultModel: string | null = null;

  private _model: Model | null = null;
  private _wanted = ""; // what the model was loaded for
  private _ready!: Promise<void>;
  private _settle: [() => void, (error: unknown) => void] | null = null;
  private _loading = 0;
  private _reading: Reading | null = null;
  private _dirty = false;
  private _frame = 0;
  private _animation = 0;
  private _texts: Partial<Texts> = {};
  private _next = Math.floor(Math.random() * 10);
  private _pad: Pad;
  private _view: View;

  constructor() {
    super();
    this._renew();
    this._pad = new Pad((done) => this._changed(done), (cell, down) => this._view.tell(cell, down));
    const root = this.attachShadow({ mode: "open" });
    this._view = new View(root, this._pad, {
      predict: () => this.predict(),
      example: () => this._example(),
      picture: (file) => this._picture(file),
      correct: (label) => this._correct(label),
    });
    adoptStyle(root, () => this.getAttribute("nonce"));
  }

  connectedCallback(): void {
    for (const key of ["strokes", "weights", "texts"] as const) {
      // Set before the element was defined: hand it to the accessor.
      if (Object.prototype.hasOwnProperty.call(this, key)) {
        const value = this[key];
        delete this[key];
        (this as Record<string, unknown>)[key] = value;
      }
    }
    this._language();
    this._load();
  }

  disconnectedCallback(): void {
    this._pad.finish();
  }

  attributeChangedCallback(name: string): void {
    if (!this.isConnected) return;
    if (name == "lang") this._language();
    else if (name == "live") this._view.live(this._live);
    else if (name != "nonce") this._load();
  }

  /** The drawing in pad units (0 to 1, y down). Setting it can be undone. */
  get strokes(): Ink {
    return this._pad.ink.map((stroke) => stroke.map((point) => point.slice()));
  }

  set strokes(strokes: Ink) {
    this._stop();
    try {
      rasterize(strokes); // refuses whatever is no drawing, or too large a one
      const ink = Array.from(strokes, (stroke) => Array.from(stroke, ([x, y]) => [x, y]));
      this._pad.finish();
      this._pad.put({ ink: ink.filter((stroke) => stroke.length), picture: null });
    } catch (error) {
      this._fail("badInk", error);
    }
  }

  /** Index of the likeliest label; null for an empty pad, or as long as nothing was predicted. */
  get prediction(): number | null {
    this._flush();
    return this._reading && this._reading.prediction;
  }

  /** The probability of each label; all 0 where there is no prediction. */
  get probabilities(): number[] {
    this._flush();
    if (this._reading) return this._reading.probabilities.slice();
    return (this._model ? this._model.labels : Array(10).fill(0)).map(() => 0);
  }

  /** What the network sees: 28 x 28 values row by row, ink 1. */
  get pixels(): number[] {
    try {
      return Array.from(this._pixels());
    } catch {
      return Array(PIXELS).fill(0);
    }
  }

  /** Resolves when a model is loaded, rejects when it cannot be. */
  get ready(): Promise<void> {
    return this._ready;
  }

  /** The checked model. Set it to a model file's JSON, parsed or not, to use that. */
  get weights(): Model | null {
    return this._model;
  }

  set weights(json: unknown) {
    this._loading++;
    this._wanted = "*";
    this._renew();
    try {
      const known = json && (json as Model).file;
      this._use(loadModel(known || json));
    } catch (error) {
      this._unusable(error);
    }
  }

  /** Texts of this element alone. */
  get texts(): Partial<Texts> {
    return this._texts;
  }

  set texts(texts: Partial<Texts>) {
    this._texts = texts;
    this._language();
  }

  /** Takes all ink away; undo() brings it back. */
  clear(): void {
    this._stop();
    this._pad.clear();
  }

  undo(): void {
    this._stop();
    this._pad.undo();
  }

  redo(): void {
    this._stop();
    this._pad.redo();
  }

  /** Reads the pad now; null without a model. */
  predict(): Reading | null {
    cancelAnimationFrame(this._frame);
    this._frame = 0;
    this._dirty = false;
    if (!this._model) return null;
    try {
      const reading = (this._reading = read(this._model, this._pixels()));
      this._view.show(reading);
      this._emit("predict", { ...reading, probabilities: reading.probabilities.slice() });
      return reading;
    } catch (error) {
      this._fail("badInk", error);
      return null;
    }
  }

  toJSON(): object {
    const { strokes, prediction, probabilities } = this;
    return { model: this._model && this._model.name, strokes, prediction, probabilities };
  }

  private get _live(): boolean {
    return !/^(false|off|no)$/i.test(this.getAttribute("live") || "");
  }

  private _pixels(): Float32Array {
    const { picture } = this._pad.sheet;
    if (picture && !this._pad.ink.length) return picture.pixels;
    return rasterize(this._pad.ink, { penWidth: this._model ? this._model.penWidth : undefined });
  }

  /** Ink came or went: read it with the next frame, or at once where there are none. */
  private _changed(done: boolean): void {
    this._dirty = true;
    this._view.update();
    if (done) this._view.error("");
    if (!this._live) {
      this._reading = null;
      this._view.show(null);
    } else if (!this._frame) {
      const run = () => this._flush();
      this._frame = document.hidden ? window.setTimeout(run) : requestAnimationFrame(run);
    }
  }

  private _flush(): void {
    this._frame = 0;
    if (this._dirty && this._live) this.predict();
  }

  private _renew(): void {
    this._ready = new Promise((resolve, reject) => (this._settle = [resolve, reject]));
    this._ready.catch(() => {}); // told by an event; nobody has to listen here too
  }

  private _load(): void {
    const src = this.getAttribute("src");
    const name = this.getAttribute("model");
    const wanted = JSON.stringify([src, name]);
    if (wanted == this._wanted || (this._wanted == "*" && !src && !name)) return;
    if (this._wanted) this._renew();
    this._wanted = wanted;
    const turn = ++this._loading;
    try {
      const own = (this.constructor as typeof MnistDigit).defaultModel;
      const model = src ? null : embeddedModel(name === null ? own : name, name === null);
      if (model) return this._use(model);
    } catch (error) {
      return this._unusable(error);
    }
    this._view.loading();
    // eslint-disable-next-line: a name is no path
    const file = `${(name || "cnn").replace(/[^\w-]/g, "")}.json`;
    fetchModel(src ? new URL(src, document.baseURI).href : beside(file)).then(
      (model) => turn == this._loading && this._use(model),
      (error) => turn == this._loading && this._unusable(error),
    );
  }

  private _use(model: Model): void {
    this._model = model;
    this._reading = null;
    this._view.model(model);
    this._settle![0]();
    this._emit("load", { name: model.name, labels: model.labels.slice() });
    this._changed(true);
  }

  private _unusable(error: unknown): void {
    this._model = this._reading = null;
    this._view.show(null);
    this._settle![1](error);
    this._fail("badModel", error);
  }

  private _fail(text: "badModel" | "badInk" | "badPicture", error: unknown): void {
    const message = this._view.error(text, error instanceof Error ? error.message : String(error));
    this._emit("error", { message, error });
  }

  private _emit(type: string, detail: object, cancelable = false): boolean {
    return this.dispatchEvent(
      new CustomEvent(`mnistc-${type}`, { detail, bubbles: true, composed: true, cancelable }));
  }

  private _language(): void {
    const from = this.closest("[lang]");
    const lang = (from && from.getAttribute("lang")) || document.documentElement.lang || "en";
    const known = MnistDigit.texts;
    this._view.language(lang, {
      ...ENGLISH, ...known[lang.split("-")[0].toLowerCase()], ...known[lang], ...this._texts,
    });
    this._view.live(this._live);
  }

  /** Draws the next sample digit, stroke by stroke unless motion is unwanted. */
  private _example(): void {
    this._stop();
    const ink = samples()[this._next++ % 10];
    if (matchMedia("(prefers-reduced-motion: reduce)").matches || document.hidden) {
      this.strokes = ink;
      return;
    }
    const points = ink.reduce((sum, stroke) => sum + stroke.length, 0);
    const begin = performance.now();
    this._pad.clear();
    const step = () => {
      let left = Math.ceil(Math.min((performance.now() - begin) / EXAMPLE_TIME, 1) * points);
      const part: Ink = [];
      for (const stroke of ink) {
        if (left > 0) part.push(stroke.slice(0, left));
        left -= stroke.length;
      }
      this._animation = left < 0 ? requestAnimationFrame(step) : 0;
      if (left < 0) this._pad.preview(part);
      else this._pad.put({ ink, picture: null });
    };
    step();
  }

  private _stop(): void {
    if (this._animation) {
      cancelAnimationFrame(this._animation);
      this._animation = 0;
      this._pad.preview([]);
    }
  }

  private async _picture(file: Blob): Promise<void> {
    this._stop();
    try {
      const grey = await readPicture(file);
      if (!grey) throw new Error(this._view.text("noise"));
      const pixels = bitmapToPixels(grey.values, grey.width, grey.height);
      this._pad.finish();
      this._pad.put({ ink: [], picture: { pixels, canvas: grey.canvas } });
    } catch (error) {
      this._fail("badPicture", error);
    }
  }

  private _correct(label: number): void {
    const reading = this._reading;
    if (!reading || !this._model) return;
    const correction: history.Correction = {
      label, prediction: reading.prediction, model: this._model.name,
      probabilities: reading.probabilities.map((p) => Math.round(p * 1e6) / 1e6),
      strokes: this.strokes.map((s) => s.map((p) => p.map((v) => Math.round(v * 1e5) / 1e5))),
      pixels: Array.from(reading.pixels, (v) => Math.round(v * 255)),
    };
    if (!this._emit("correction", correction, true)) return;
    history.keep(correction);
    this._view.thank(label);
    const url = this.getAttribute("report-url");
    if (url) this._report(url, correction);
  }

  private _report(url: string, correction: history.Correction): void {
    const body = JSON.stringify(correction);
    fetch(new URL(url, document.baseURI).href, {
      method: "POST", body, credentials: "omit", headers: { "Content-Type": "application/json" },
    }).catch((error) => this._emit("error", { message: String(error), error }));
  }
}
