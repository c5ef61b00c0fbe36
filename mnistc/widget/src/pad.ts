/**
 * The drawing pad: an SVG that is only drawn to. The strokes themselves are the state, so ink
 * survives resizing, hiding and moving, and is sharp at every device pixel ratio.
 */
import { h } from "./dom.js";

export type Ink = number[][][];

/** What lies on the pad: strokes in pad units (0 to 1, y down), or an uploaded picture. */
export interface Sheet {
  ink: Ink;
  /** Of a picture: what the network sees of it, and what is shown of it. */
  pixels?: Float32Array;
  canvas?: HTMLCanvasElement;
}

const CELLS = 28;
const UNIT = 1000; // of the SVG's view box, a pad's width
const UNDO_LEVELS = 100;
const TINY = 1 / 2000; // pad units: a pointer that rests adds nothing

/** Path data. A dot gets some length: not every engine gives a path without any its round cap. */
const pathData = (ink: Ink): string => ink.map((stroke) =>
  "M" + stroke.map((point) => point.map((v) => Math.round(v * UNIT))).join("L") + "h.1").join("");

export class Pad {
  readonly element: HTMLElement;
  page: Sheet = { ink: [] };
  /** Sheets to undo and to redo. */
  readonly past: Sheet[] = [];
  future: Sheet[] = [];
  private _ink = h("path", { part: "ink", class: "ink" });
  private _wet = h("path", { part: "ink", class: "ink" });
  private _cursor = h("rect", { width: UNIT / CELLS, height: UNIT / CELLS });
  /** The stroke that is being drawn, if any: not on the page yet, but shown and read. */
  private _unfinished: Ink = [];
  private _pointer: number | null = null;
  private _cell = [CELLS / 2, CELLS / 2];

  /** told(cell, down): the keyboard's pen moved. */
  constructor(
    private _changed: () => void, private _told: (cell: number[], down: boolean) => void,
  ) {
    const up = (e: PointerEvent) => e.pointerId === this._pointer && this.finish();
    this.element = h("div", {
      class: "pad", part: "pad", tabindex: 0, role: "application", "aria-describedby": "help",
      // Older iOS scrolls, magnifies and selects unless the touch itself is stopped.
      touchstart: (e: Event) => e.preventDefault(),
      pointerdown: (e: PointerEvent) => this._down(e),
      pointermove: (e: PointerEvent) => this._move(e),
      pointerup: up, pointercancel: up, lostpointercapture: up,
      keydown: (e: KeyboardEvent) => this._key(e),
      blur: () => this._leave(),
    }, h("svg", { viewBox: `0 0 ${UNIT} ${UNIT}`, "aria-hidden": "true" },
      this._ink, this._wet, this._cursor));
  }

  /** All strokes, unfinished ones included. */
  get ink(): Ink {
    return this.page.ink.concat(this._unfinished);
  }

  get isEmpty(): boolean {
    return !this.page.canvas && !this.ink.length;
  }

  /** A new page; the old one can be had back by undo. */
  put(page: Sheet): void {
    this.past.push(this.page);
    if (this.past.length > UNDO_LEVELS) this.past.shift();
    this.future = [];
    this._show(page);
  }

  undo(): void {
    this._swap(this.past, this.future);
  }

  redo(): void {
    this._swap(this.future, this.past);
  }

  clear(): void {
    this.finish();
    if (!this.isEmpty) this.put({ ink: [] });
  }

  /** Shows the unfinished stroke, if any. */
  private _preview(ink: Ink): void {
    this._unfinished = ink;
    this._wet.setAttribute("d", pathData(ink));
    this._changed();
  }

  /** Ends an unfinished stroke, whatever interrupted it: its ink stays. */
  finish(): void {
    this._pointer = null;
    if (this._unfinished.length) this.put({ ink: this.ink });
  }

  private _swap(from: Sheet[], to: Sheet[]): void {
    this.finish();
    const page = from.pop();
    if (page) {
      to.push(this.page);
      this._show(page);
    }
  }

  private _show(page: Sheet): void {
    if (this.page.canvas) this.page.canvas.remove();
    if (page.canvas) this.element.prepend(page.canvas);
    this.page = page;
    this._ink.setAttribute("d", pathData(page.ink));
    this._preview([]);
  }

  /** Begins or goes on with a stroke, by many points at once: each call shows all of it. */
  private _draw(points: number[][]): void {
    const [stroke = []] = this._unfinished, { length } = stroke;
    for (const point of points) {
      const last = stroke[stroke.length - 1];
      if (!last || Math.hypot(point[0] - last[0], point[1] - last[1]) > TINY) stroke.push(point);
    }
    if (stroke.length > length) this._preview([stroke]);
  }

  private _at(events: PointerEvent[]): void {
    const box = this.element.getBoundingClientRect();
    if (box.width) { // else it was hidden under the pointer
      this._draw(events.map((e) =>
        [(e.clientX - box.left) / box.width, (e.clientY - box.top) / box.height]));
    }
  }

  private _down(e: PointerEvent): void {
    // A second finger or button draws nothing, nor a palm beside the pen; but a pointer that does
    // not hold the pad any more was lost.
    if (e.button || (this._pointer !== null &&
      (!e.isPrimary || this.element.hasPointerCapture(this._pointer)))) return;
    e.preventDefault();
    this._pointer = null;
    this._leave();
    this.element.focus({ preventScroll: true });
    this._pointer = e.pointerId;
    if (e.isTrusted) this.element.setPointerCapture(e.pointerId);
    this._at([e]);
  }

  private _move(e: PointerEvent): void {
    // The event itself comes last, where it is not among the coalesced ones.
    if (e.pointerId === this._pointer) {
      this._at([...(e.getCoalescedEvents ? e.getCoalescedEvents() : []), e]);
    }
  }

  /** Leaves cell mode; a pen that is down is lifted. */
  private _leave(): void {
    if (this._pointer === null) this.finish();
    this.element.classList.remove("keys");
  }

  private _key(e: KeyboardEvent): void {
    const { key } = e, control = e.ctrlKey || e.metaKey;
    const step = ["Left", "Up", "Right", "Down"].indexOf(key.slice(5)) + 1;
    if (control ? /z/i.test(key) && !e.shiftKey : /^(Backspace|Delete)$/.test(key)) this.undo();
    else if (control && /[zy]/i.test(key)) this.redo();
    else if (!control && !e.altKey && this._pointer === null && (step || /^( |Enter)$/.test(key))) {
      if (step || !e.repeat) this._cells(step); // a key held too long does not lift the pen again
    } else return;
    e.preventDefault();
  }

  /** Cell mode: the pen stands in one of 28 x 28 cells, up or down; no step lowers or lifts it. */
  private _cells(step: number): void {
    this.element.classList.add("keys");
    const down = this._unfinished.length > 0, cell = this._cell;
    if (step) {
      const axis = (step + 1) % 2;
      cell[axis] = Math.min(Math.max(cell[axis] + (step < 3 ? -1 : 1), 0), CELLS - 1);
    }
    if (!step && down) this.finish();
    else if (!step || down) this._draw([cell.map((v) => (v + 0.5) / CELLS)]);
    this._cursor.setAttribute("transform", `translate(${cell.map((v) => (v * UNIT) / CELLS)})`);
    this._told(cell, this._unfinished.length > 0);
  }
}
