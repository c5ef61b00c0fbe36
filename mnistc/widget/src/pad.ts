/**
 * The drawing pad: an SVG that is only drawn to. The strokes themselves are the state, so ink
 * survives resizing, hiding and moving, and is sharp at every device pixel ratio.
 */
import { h, svg } from "./dom.js";

export type Ink = number[][][];

/** What lies on the pad: strokes in pad units (0 to 1, y down), or an uploaded picture. */
export interface Sheet {
  ink: Ink;
  picture: { pixels: Float32Array; canvas: HTMLCanvasElement } | null;
}

const CELLS = 28;
const UNIT = 1000; // of the SVG's view box, a pad's width
const UNDO_LEVELS = 100;
const BLANK: Sheet = { ink: [], picture: null };
const TINY = 1 / 2000; // pad units: a pointer that rests adds nothing

/** Path data; points nearer than 1/320 of the pad to the last one make no difference on screen. */
function pathData(ink: Ink): string {
  let d = "";
  for (const stroke of ink) {
    let lastX = NaN, lastY = NaN;
    stroke.forEach(([x, y], i) => {
      if (i && i < stroke.length - 1 && Math.hypot(x - lastX, y - lastY) < 1 / 320) return;
      d += `${i ? "L" : "M"}${Math.round(x * UNIT)} ${Math.round(y * UNIT)}`;
      lastX = x;
      lastY = y;
    });
    if (stroke.length == 1) d += "h.1"; // a dot: a round cap needs some length in every engine
  }
  return d;
}

export class Pad {
  readonly element: HTMLElement;
  sheet = BLANK;
  private _past: Sheet[] = [];
  private _future: Sheet[] = [];
  private _ink = svg("path", { part: "ink", class: "ink" });
  private _wet = svg("path", { part: "ink", class: "ink" });
  private _cursor = svg("rect", { class: "cursor", width: UNIT / CELLS, height: UNIT / CELLS });
  private _stroke: number[][] | null = null;
  private _preview: Ink = [];
  private _pointer: number | null = null;
  private _cell = [CELLS / 2, CELLS / 2];

  /**
   * changed(done): ink came or went; done is false while a stroke goes on.
   * told(cell, down): the keyboard's pen moved.
   */
  constructor(
    private _changed: (done: boolean) => void, private _told: (cell: number[], down: boolean) => void,
  ) {
    let grid = "";
    for (let i = 1; i < CELLS; i++) {
      const at = (i * UNIT) / CELLS;
      grid += `M${at} 0v${UNIT}M0 ${at}h${UNIT}`;
    }
    this.element = h("div", {
      class: "pad", part: "pad", tabindex: 0, role: "application",
      pointerdown: (e: PointerEvent) => this._down(e),
      pointermove: (e: PointerEvent) => this._move(e),
      pointerup: (e: PointerEvent) => this._up(e),
      pointercancel: (e: PointerEvent) => this._up(e),
      lostpointercapture: (e: PointerEvent) => this._up(e),
      keydown: (e: KeyboardEvent) => this._key(e),
      blur: () => this._leave(),
    }, svg("svg", { viewBox: `0 0 ${UNIT} ${UNIT}`, "aria-hidden": "true" },
      svg("path", { class: "grid", d: grid }), this._ink, this._wet, this._cursor));
    // Older iOS scrolls, magnifies and selects unless the touch itself is stopped.
    for (const type of ["touchstart", "touchmove"]) {
      this.element.addEventListener(type, (e) => e.cancelable && e.preventDefault(),
        { passive: false });
    }
  }

  get canUndo() { return this._past.length > 0; }
  get canRedo() { return this._future.length > 0; }
  get isEmpty() { return !this.sheet.picture && !this.ink.length; }

  /** All strokes, the unfinished one included. */
  get ink(): Ink {
    if (this._preview.length) return this._preview;
    return this._stroke ? [...this.sheet.ink, this._stroke] : this.sheet.ink;
  }

  /** A new sheet; the old one can be had back by undo. */
  put(sheet: Sheet): void {
    this._past.push(this.sheet);
    this._past = this._past.slice(-UNDO_LEVELS);
    this._future = [];
    this._show(sheet);
  }

  undo(): void {
    this.finish();
    if (this.canUndo) {
      this._future.push(this.sheet);
      this._show(this._past.pop()!);
    }
  }

  redo(): void {
    this.finish();
    if (this.canRedo) {
      this._past.push(this.sheet);
      this._show(this._future.pop()!);
    }
  }

  clear(): void {
    this.finish();
    if (!this.isEmpty) this.put(BLANK);
  }

  /** Ink that is shown and read, but is not on the sheet. */
  preview(ink: Ink): void {
    this._preview = ink;
    this._wet.setAttribute("d", pathData(ink));
    this._changed(false);
  }

  private _show(sheet: Sheet): void {
    const old = this.sheet.picture;
    if (old && old !== sheet.picture) old.canvas.remove();
    if (sheet.picture) this.element.prepend(sheet.picture.canvas);
    this.sheet = sheet;
    this._preview = [];
    this._wet.setAttribute("d", "");
    this._ink.setAttribute("d", pathData(sheet.ink));
    this._changed(true);
  }

  /** Begins or goes on with a stroke; the sheet changes when it is finished. */
  private _draw(x: number, y: number): void {
    const stroke = this._stroke;
    if (!stroke) {
      this._stroke = [[x, y]];
    } else {
      const last = stroke[stroke.length - 1];
      if (Math.hypot(x - last[0], y - last[1]) < TINY) return;
      stroke.push([x, y]);
    }
    this._wet.setAttribute("d", pathData([this._stroke!]));
    this._changed(false);
  }

  /** Ends an unfinished stroke, whatever interrupted it: its ink stays. */
  finish(): void {
    const stroke = this._stroke;
    this._pointer = this._stroke = null;
    if (stroke) {
      this.put({ ink: [...this.sheet.ink, stroke], picture: null });
    }
  }

  private _at(e: PointerEvent, box: DOMRect): void {
    this._draw((e.clientX - box.left) / box.width, (e.clientY - box.top) / box.height);
  }

  private _down(e: PointerEvent): void {
    if (this._pointer !== null || e.button) return; // a second finger or button draws nothing
    e.preventDefault();
    this._leave();
    this.element.focus({ preventScroll: true });
    this._pointer = e.pointerId;
    try {
      this.element.setPointerCapture(e.pointerId);
    } catch {
      /* the pointer is gone already, or synthetic */
    }
    this._at(e, this.element.getBoundingClientRect());
  }

  private _move(e: PointerEvent): void {
    if (e.pointerId !== this._pointer) return;
    if (e.isTrusted && !e.buttons) return this.finish(); // let go where no page could see it
    const box = this.element.getBoundingClientRect();
    const events = e.getCoalescedEvents ? e.getCoalescedEvents() : [];
    for (const event of events.length ? events : [e]) this._at(event, box);
  }

  private _up(e: PointerEvent): void {
    if (e.pointerId === this._pointer) this.finish();
  }

  /** Leaves cell mode; a pen that is down is lifted. */
  private _leave(): void {
    if (this._pointer === null) this.finish();
    this.element.classList.remove("keys");
  }

  private _key(e: KeyboardEvent): void {
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[e.key];
    const pen = e.key == " " || e.key == "Enter";
    const command = (e.ctrlKey || e.metaKey) && e.key.toLowerCase();
    if (command == "z" || e.key == "Backspace" || e.key == "Delete") {
      if (e.shiftKey) this.redo();
      else this.undo();
    } else if (command == "y") {
      this.redo();
    } else if (e.key == "Escape" && this._stroke) {
      this.finish();
    } else if ((step || pen) && !command && !e.altKey && this._pointer === null) {
      this._cells(step, pen);
    } else {
      return;
    }
    e.preventDefault();
  }

  /** Cell mode: the pen stands in one of 28 x 28 cells, up or down. */
  private _cells(step: number[] | undefined, pen: boolean): void {
    this.element.classList.add("keys");
    const down = this._stroke !== null;
    if (step) {
      this._cell = this._cell.map((v, i) => Math.min(Math.max(v + step[i], 0), CELLS - 1));
    }
    const [x, y] = this._cell;
    if (pen && down) this.finish();
    else if (pen || down) this._draw((x + 0.5) / CELLS, (y + 0.5) / CELLS);
    this._cursor.setAttribute("transform", `translate(${(x * UNIT) / CELLS} ${(y * UNIT) / CELLS})`);
    this._told([x, y], this._stroke !== null);
  }
}
