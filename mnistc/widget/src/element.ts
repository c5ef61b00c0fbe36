/** <mnistc-digit>: a pad to draw on, and what a network reads in it. */
// In an order that compresses well.
import { samples } from "./samples.js";
import { adoptStyle } from "./style.js";
import { embeddedModel, fetchModel, request, wait } from "./registry.js";
import { fitStrokes, PIXELS, rasterize } from "./strokes.js";
import { bitmapToPixels } from "./bitmap.js";
import { createView, type View } from "./view.js";
import { readPicture } from "./picture.js";
import { h } from "./dom.js";
import { Pad, type Ink } from "./pad.js";
import { corrections, keep, type Correction } from "./history.js";
import { ENGLISH, fill, type Texts } from "./texts.js";
import { read, type Reading } from "./classify.js";
import { loadModel, type Model } from "./model.js";

// Importing this file where there is no page (server-side rendering) must not fail.
const Base = (globalThis.HTMLElement || class {}) as typeof HTMLElement;

export class MnistDigit extends Base {
  static observedAttributes = ["src", "model", "live", "lang"];
  /** Texts by language; whatever one lacks is English. */
  static texts: Record<string, Partial<Texts>> = {};
  /** The model that an element without the attributes src and model wants. */
  static _default: string | null = null;

  private _model: Model | null = null;
  private _turn = 0; // of loading models: only the latest one counts
  private _ready!: Promise<void>;
  private _settle!: [
    resolve: (value: void | PromiseLike<void>) => void, reject: (error: unknown) => void,
  ];
  private _reading: Reading | null = null;
  private _dirty?: boolean;
  private _frame?: number;
  private _next = 0;
  private _view!: View;
  _pad: Pad;
  /** Of the last failure; it stays when the rest is built anew. */
  _error = h("p", { class: "error", part: "error", role: "alert" });

  constructor() {
    super();
    this._renew();
    this._pad = new Pad(() => this._changed(), (cell, down) => this._view.tell(cell, down));
    adoptStyle(this.attachShadow({ mode: "open" }).appendChild(h("slot")).parentNode as ShadowRoot);
    this._build();
  }

  connectedCallback(): void {
    for (const key of ["strokes", "weights"] as const) {
      // Set before the element was defined: hand it to the accessor.
      if (this.hasOwnProperty(key)) {
        const value = this[key] as never;
        delete this[key];
        this[key] = value;
      }
    }
    this._build();
    if (!this._turn) this._load();
  }

  adoptedCallback(): void {
    adoptStyle(this.shadowRoot!); // a sheet belongs to its document
  }

  disconnectedCallback(): void {
    this._pad.finish(); // the pointer's end may never be told
  }

  attributeChangedCallback(name: string): void {
    if (name == "lang" || name == "live") {
      this._build();
      if (this._dirty) this._changed();
    } else if (this._turn || this.isConnected) this._load();
  }

  /** The drawing in pad units (0 to 1, y down). Setting it can be undone. */
  get strokes(): Ink {
    return this._pad.ink.map((stroke) => stroke.map((point) => point.slice()));
  }

  set strokes(strokes: Ink) {
    try {
      fitStrokes(strokes, 1); // refuses whatever is no drawing, or too large a one
      const ink = Array.from(strokes, (stroke) => Array.from(stroke, (point) => [point[0], point[1]]));
      this._pad.finish();
      this._pad.put({ ink: ink.filter((stroke) => stroke.length) });
    } catch (error) {
      this._fail(error);
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
    return this._reading ? this._reading.probabilities.slice() : this._view.labels.map(() => 0);
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
    this._start();
    try {
      this._use(loadModel((json && (json as Model).file) || json));
    } catch (error) {
      this._unusable(error);
    }
  }

  /** Takes all ink away; undo() brings it back. */
  clear(): void {
    this._pad.clear();
  }

  undo(): void {
    this._pad.undo();
  }

  redo(): void {
    this._pad.redo();
  }

  /** Reads the pad now; null without a model. */
  predict(): Reading | null {
    this._dirty = false;
    if (!this._model) return null;
    try {
      const reading = (this._reading = read(this._model, this._pixels()));
      this._view.show(reading);
      this._emit("predict", reading);
      return reading;
    } catch (error) {
      this._view.show((this._reading = null));
      this._fail(error);
      return null;
    }
  }

  toJSON(): object {
    const { strokes, prediction, probabilities } = this;
    return { model: this._model && this._model.name, strokes, prediction, probabilities };
  }

  private get _live(): boolean {
    return this.getAttribute("live") != "false";
  }

  private _pixels(): Float32Array {
    const { ink, page: { pixels } } = this._pad;
    return (!ink.length && pixels) || rasterize(ink, this._model || {});
  }

  /** Ink came or went: read it with the next frame, or soon where there are none. */
  private _changed(): void {
    this._dirty = true;
    this._view.update(this._live);
    if (this._model) this._error.textContent = "";
    if (!this._live) {
      this._view.show((this._reading = null));
    } else if (!this._frame) {
      this._frame = (document.hidden ? setTimeout : requestAnimationFrame)(() => {
        this._frame = 0;
        this._flush();
      });
    }
  }

  private _flush(): void {
    if (this._dirty && this._live) this.predict();
  }

  /** Another promise to be ready; who waits for the one before waits for this one. */
  private _renew(): void {
    const before = this._settle;
    this._ready = new Promise((...settle) => (this._settle = settle));
    this._ready.catch(() => {}); // told by an event; nobody has to listen here too
    if (before) before[0](this._ready);
  }

  /** Begins to load another model; gives its turn. */
  private _start(): number {
    if (this._turn) this._renew();
    return ++this._turn;
  }

  private _load(): void {
    const src = this.getAttribute("src"), name = this.getAttribute("model");
    const turn = this._start();
    const own = (this.constructor as typeof MnistDigit)._default;
    const find = () => !src && embeddedModel(name || own, !name), model = find();
    if (model) return this._use(model);
    fetchModel(src, name || own || "cnn").then(
      (loaded) => turn == this._turn && this._use(loaded),
      (error) => wait(() => turn == this._turn && (!find() || this._load())) && this._unusable(error),
    );
  }

  private _use(model: Model): void {
    this._model = model;
    this._reading = null;
    this._build();
    this._error.textContent = "";
    this._settle[0]();
    this._emit("load", { name: model.name, labels: model.labels });
    if (!this._pad.isEmpty) this._changed();
  }

  private _unusable(error: unknown): void {
    this._model = this._reading = null;
    this._build();
    this._settle[1](error);
    this._fail(error);
    this._view.show(this._reading);
  }

  private _fail(error: unknown): void {
    const message = fill(this._view.texts.failed, (error as Error).message);
    this._error.textContent = message;
    this._emit("error", { message, error });
  }

  private _emit(type: string, detail: object, cancelable?: boolean): boolean {
    return this.dispatchEvent(
      new CustomEvent(`mnistc-${type}`,
        { detail, bubbles: true, composed: true, cancelable } as CustomEventInit));
  }

  /** The user interface in the element's language, with its model's labels. */
  private _build(): void {
    const lang = (this.closest("[lang]") || this).getAttribute("lang") || "en";
    const { texts } = MnistDigit;
    if (this._view) this._view.discard();
    this._view = createView(this,
      { ...ENGLISH, ...texts[lang.split("-")[0]], ...texts[lang] }, this._model);
    this._view.update(this._live);
    this._view.show(this._reading);
  }

  /** Draws the next sample digit. */
  _example(): void {
    this.strokes = samples()[this._next++ % 10];
  }

  async _picture(file: Blob): Promise<void> {
    try {
      const grey = await readPicture(file);
      const pixels = bitmapToPixels(grey.values, grey.width, grey.height);
      this._pad.finish();
      this._pad.put({ ink: [], pixels, canvas: grey.canvas });
    } catch (error) {
      this._fail(error);
    }
  }

  _correct(label: number): void {
    if (!this._reading) return;
    const correction: Correction = {
      ...this._reading, label, model: this._model!.name, strokes: this.strokes,
      pixels: Array.from(this._reading.pixels, (v) => Math.round(v * 255)),
    };
    if (!this._emit("correction", correction, true)) return;
    keep([...corrections(), correction]);
    this._view.thank(label);
    const url = this.getAttribute("report-url");
    if (!url) return;
    request(url, {
      method: "POST", body: JSON.stringify(correction), credentials: "omit",
      headers: { "Content-Type": "application/json" },
    }).catch((error) => this._fail(error));
  }
}
