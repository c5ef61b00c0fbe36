/** What must hold in every engine: Chromium, Firefox and WebKitGTK. */
import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { pathToFileURL } from "node:url";

import { loadModel, predict, rasterize } from "../../../mnistc/widget/dist/core.js";
import { floatTensor, randomModel, SMALL } from "../models.mjs";
import { launch, missing } from "./browsers.mjs";
import { folder, noSite, page, serve } from "./site.mjs";

const STRICT = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; " +
  "img-src data:; frame-src 'self'; base-uri 'none'; require-trusted-types-for 'script'";
const OLD = `for (const type of [Document, ShadowRoot]) delete type.prototype.adoptedStyleSheets;
  delete CSSStyleSheet.prototype.replaceSync;`;
const SCRIPTS = ["NaN", "1e999"];

const hostile = () => {
  const file = randomModel(SMALL, { labels: Array.from({ length: 10 }, (_, i) =>
    `<img src=x onerror="x=${i}">`) });
  const wrong = JSON.parse(JSON.stringify(randomModel(SMALL)));
  wrong.tensors["conv2d_0.weight"].shape = [1e9, 1e9];
  const infinite = randomModel(SMALL);
  infinite.tensors["conv2d_0.bias"] = floatTensor([Infinity, 0, 0, 0], [4]);
  const many = (text) => `[${Array(200_000).fill(text)}]`;
  const json = (body, more) => ({ body, type: "application/json", ...more });
  return {
    "/labels.json": json(JSON.stringify(file)),
    "/shape.json": json(JSON.stringify(wrong)),
    "/infinite.json": json(JSON.stringify(infinite)),
    "/empty.json": json(""),
    "/html.json": json("<script>x=1</script>"),
    "/deep.json": json("[".repeat(1 << 20)),
    "/numbers.json": json(many("7")),
    "/names.json": json(`{${Array.from({ length: 50_000 }, (_, i) => `"n${i}":0`)}}`),
    "/objects.json": json(many("{}")),
    "/wide.json": json(`"${"\u20ac".repeat(1 << 20)}"`),
    "/nested.json": json("[".repeat(100_000) + "]".repeat(100_000)),
    "/proto.json": json('{"__proto__":{"format":"mnistc-model"},"format":"mnistc-model"}'),
    "/gone.json": json("", { status: 500 }),
    "/huge.json": json("", { stream: (response) => {
      let left = 64; // 16 MiB: WebKitGTK goes on loading what was given up
      const more = () => left-- && !response.destroyed
        ? response.write(" ".repeat(1 << 18), more) : response.end();
      more();
    } }),
    ...Object.fromEntries(SCRIPTS.map((text) => [`/${text}.json`, json(text)])),
  };
};

const PAGES = {
  "/one.html": { body: page("<mnistc-digit id=d></mnistc-digit>") },
  "/strict.html": { body: page("<mnistc-digit id=d></mnistc-digit>"),
    headers: { "Content-Security-Policy": STRICT } },
  "/old.js": { body: OLD, type: "text/javascript" },
  "/old.html": { body: page("<mnistc-digit id=d></mnistc-digit>",
    '<script src="/old.js"></script><script src="/mnistc.global.js"></script>') },
  "/nonce.html": { body: page('<mnistc-digit id=d nonce="abc"></mnistc-digit>',
    '<script src="/old.js" nonce="abc"></script><script src="/mnistc.global.js" nonce="abc"></script>'),
    headers: { "Content-Security-Policy":
      "default-src 'none'; script-src 'nonce-abc'; style-src 'nonce-abc'; img-src data:" } },
  "/old-strict.html": { body: page("<mnistc-digit id=d></mnistc-digit>",
    '<script src="/old.js"></script><script src="/mnistc.global.js"></script>'),
    headers: { "Content-Security-Policy": STRICT.replace(/; require-trusted.*/, "") } },
  "/module.html": { body: page("<mnistc-digit id=d></mnistc-digit>",
    '<script type="module" src="/mnistc.js"></script>') },
  "/twice.html": { body: page('<div id="mnistc"></div><mnistc-digit id=d></mnistc-digit>',
    '<script src="/mnistc.global.js"></script>'.repeat(2) +
    '<script type="module" src="/mnistc.js"></script>') },
  "/drop-in.html": { body: page("<div><mnist-checker-widget /></div><p id=p>after</p>",
    '<script src="/mnist_widget.js"></script>') },
  "/drop-ins.html": { body: page(`<script src="/mnist_widget.js"></script>
    <div><mnist-checker-widget /></div><script src="/mnist_convolution_widget.js"></script>
    <div><mnist-convolution-checker-widget /></div>`, "") },
  "/swallow.html": { body: page("<mnistc-digit id=d /><p id=p>after</p>") },
  "/frame.html": { body: page('<iframe id=f src="/one.html" width=600 height=500></iframe>', "") },
  "/late.html": { body: page("<mnistc-digit id=d></mnistc-digit>", "") },
  "/manual.html": { body: page('<mnistc-digit id=d live="false"></mnistc-digit>') },
  "/hostile.html": { body: page("<mnistc-digit id=d></mnistc-digit>") },
};

const READY = "await d.ready;";
/** A path of whole pixels of the viewport, in a pad that lies at some place and size. */
const STROKE = [[40, 60], [90, 50], [130, 100], [120, 180], [60, 200], [61, 130], [150, 210]];

const SITE_FILE = pathToFileURL(join(folder || ".", "index.html")).href;
const trained = existsSync(join(folder || ".", "mnistc.global.js"));

for (const name of ["chromium", "firefox", "webkit"]) {
  const skip = missing(name) || noSite || (trained ? undefined : "no model");
  describe(name, { skip }, () => {
    let browser, site;
    const open = (path, options) => browser.open(site.url + path, options);
    const pad = () => browser.run(`const r = d.shadowRoot.querySelector(".pad").getBoundingClientRect();
      return [r.left, r.top, r.width, r.height]`);
    const noErrors = () => assert.deepEqual(browser.errors, []);

    before(async () => {
      site = await serve({ ...PAGES, ...hostile() });
      browser = await launch(name);
    });
    after(async () => {
      await browser.close();
      site.close();
    });

    test("ten digits drawn by mouse and finger are read", async () => {
      await open("/one.html");
      await browser.run(READY);
      const samples = await browser.run("mnistc.samples()"), [left, top, width, height] = await pad();
      for (const type of browser.pointers) {
        const read = [];
        await browser.run(`d.addEventListener("pointerdown", (e) => (window.type = e.pointerType),
          { once: true })`);
        for (const strokes of samples) {
          await browser.run("d.clear()");
          for (const stroke of strokes) {
            await browser.draw(stroke.filter((_, i) => i % 4 == 0 || i == stroke.length - 1)
              .map(([x, y]) => [Math.round(left + x * width), Math.round(top + y * height)]), type);
          }
          read.push(await browser.run("d.prediction"));
        }
        assert.deepEqual(read, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9], type);
        assert.equal(await browser.run("window.type"), type);
      }
      noErrors();
    });

    test("the pixels are those of core.js in Node, to the bit", async () => {
      for (const scale of name == "webkit" ? [1] : [1, 1.5, 2, 3]) {
        await open("/one.html", { scale });
        await browser.run(READY);
        if (name != "webkit") assert.equal(await browser.run("devicePixelRatio"), scale);
        const [left, top] = await pad();
        await browser.draw(STROKE.map(([x, y]) => [Math.ceil(left) + x, Math.ceil(top) + y]));
        const { strokes, pixels, probabilities } = await browser.run(
          "return { strokes: d.strokes, pixels: d.pixels, probabilities: d.probabilities }");
        assert.equal(strokes[0].length, STROKE.length, "a point for every place of the pointer");
        assert.deepEqual(pixels, Array.from(rasterize(strokes)), `scale ${scale}`);
        const model = loadModel(await (await fetch(`${site.url}/${await browser.run("d.weights.name")}.json`)).text());
        predict(model, pixels).forEach((p, i) => assert.ok(Math.abs(p - probabilities[i]) < 1e-6));
        const drawn = await browser.run(`d.strokes = ${JSON.stringify([STROKE])}; return d.pixels`);
        assert.deepEqual(drawn, Array.from(rasterize([STROKE])));
      }
      noErrors();
    });

    test("the keyboard draws in cells of 28 x 28", async () => {
      await open("/one.html");
      await browser.run(`${READY} return d.shadowRoot.querySelector(".pad").focus()`);
      await browser.press(["ArrowUp", "Space", "ArrowDown", "ArrowDown", "ArrowRight", "Enter"]);
      const cell = (x, y) => [(x + 0.5) / 28, (y + 0.5) / 28];
      assert.deepEqual(await browser.run("d.strokes"),
        [[cell(14, 13), cell(14, 14), cell(14, 15), cell(15, 15)]]);
      assert.equal(await browser.run("d.prediction") === null, false);
      await browser.press(["Backspace"]);
      assert.deepEqual(await browser.run("d.strokes"), []);
      noErrors();
    });

    test("undo, redo, clear, empty", async () => {
      await open("/one.html");
      const result = await browser.run(`${READY}
        const seen = [], look = () => seen.push(d.strokes.length + ":" + (d.prediction === null));
        d.strokes = [[[0, 0], [1, 1]]]; look();
        d.strokes = [[[0, 0], [1, 1]], [[1, 0]]]; look();
        d.undo(); look(); d.redo(); look(); d.clear(); look(); d.undo(); look();
        d.undo(); d.undo(); look(); d.undo(); look();
        return seen.join(" ")`);
      assert.equal(result, "1:false 2:false 1:false 2:false 0:true 2:false 0:true 0:true");
      noErrors();
    });

    test("ink survives moving, hiding, resizing, and an interrupted pointer", async () => {
      await open("/one.html");
      const [before, after] = await browser.run(`${READY}
        d.strokes = [[[0.2, 0.2], [0.8, 0.7]]];
        const before = JSON.stringify([d.strokes, d.pixels]);
        const ink = () => d.shadowRoot.querySelector(".ink").getAttribute("d");
        const path = ink();
        const dialog = document.body.appendChild(document.createElement("dialog"));
        dialog.append(d);
        if (dialog.showModal) { dialog.showModal(); dialog.close(); }
        d.hidden = true;
        d.style.width = "240px";
        await new Promise((resolve) => setTimeout(resolve, 50));
        d.hidden = false;
        document.body.append(d);
        return [before + path, JSON.stringify([d.strokes, d.pixels]) + ink()]`);
      assert.equal(after, before);
      const kept = await browser.run(`d.clear();
        const pad = d.shadowRoot.querySelector(".pad"), box = pad.getBoundingClientRect();
        const send = (type, x) => pad.dispatchEvent(new PointerEvent(type, { pointerId: 9, buttons: 1,
          clientX: box.left + x, clientY: box.top + x, bubbles: true }));
        send("pointerdown", 20); send("pointermove", 60); send("pointercancel", 60);
        send("pointermove", 90); send("pointerup", 90);
        const first = [d.strokes.length, d.strokes[0].length, d.prediction !== null];
        send("pointerdown", 30); send("pointermove", 50);
        document.body.append(d); // in the middle of a stroke
        send("pointerdown", 10); send("pointerup", 10);
        return [...first, ...d.strokes.map((stroke) => stroke.length)]`);
      assert.deepEqual(kept, [1, 2, true, 2, 2, 1]);
      noErrors();
    });

    test("fingers, as far as a script can make them", async () => {
      await open("/one.html");
      const result = await browser.run(`${READY}
        const pad = d.shadowRoot.querySelector(".pad"), box = pad.getBoundingClientRect();
        const send = (type, [x, y], id = 5, more = {}) => pad.dispatchEvent(new PointerEvent(type, {
          pointerId: id, pointerType: "touch", isPrimary: true, bubbles: true, cancelable: true,
          composed: true, clientX: box.left + x * box.width, clientY: box.top + y * box.height, ...more }));
        const lengths = () => d.strokes.map((stroke) => stroke.length);
        const read = mnistc.samples().map((strokes, i) => {
          d.clear();
          for (const stroke of strokes) {
            send("pointerdown", stroke[0], i);
            for (const point of stroke) {
              send("pointermove", point, i);
              send("pointermove", [0.9, 0.9], 77); // a finger that rests elsewhere
            }
            send("pointerup", stroke[stroke.length - 1], i);
          }
          return d.prediction;
        });
        d.clear();
        send("pointerdown", [0.2, 0.2]); send("pointermove", [0.3, 0.3]);
        send("pointerdown", [0.7, 0.7], 6, { isPrimary: false }); send("pointermove", [0.8, 0.7], 6);
        send("pointerup", [0.8, 0.8], 6, { isPrimary: false });
        send("pointermove", [0.4, 0.4]);
        const second = lengths(); // the other finger drew nothing and ended nothing
        send("pointerdown", [0.6, 0.2], 8); send("pointermove", [0.6, 0.5], 8); // no end of 5 was told
        send("pointercancel", [0, 0], 8);
        const lost = lengths();
        send("pointerdown", [0.1, 0.1], 9);
        d.hidden = true;
        send("pointermove", [0.5, 0.6], 9); // a pad without a size
        d.hidden = false;
        send("pointerup", [0.5, 0.6], 9);
        return [read, second, lost, lengths(), d.prediction !== null]`);
      assert.deepEqual(result, [[0, 1, 2, 3, 4, 5, 6, 7, 8, 9], [3], [3, 2], [3, 2, 1], true]);
      noErrors();
    });

    test("a stroke goes on while a model arrives or the language changes", async () => {
      await open("/one.html");
      await browser.run(`${READY} let moves = 0;
        d.addEventListener("pointermove", () => {
          moves++;
          if (moves == 2) d.lang = "de";
          if (moves == 4) d.weights = d.weights;
        })`);
      const [left, top] = await pad();
      await browser.draw(STROKE.map(([x, y]) => [Math.ceil(left) + x, Math.ceil(top) + y]));
      assert.deepEqual(await browser.run(`return [d.strokes.map((stroke) => stroke.length),
        d.shadowRoot.activeElement.part.value, d.shadowRoot.querySelectorAll(".tools").length,
        d.shadowRoot.querySelectorAll("ol").length]`), [[STROKE.length], "pad", 1, 1]);
      noErrors();
    });

    test("many points at once are shown and read once", async () => {
      await open("/one.html");
      const [shown, read, points] = await browser.run(`${READY}
        const pad = d.shadowRoot.querySelector(".pad"), box = pad.getBoundingClientRect();
        const make = (type, i) => new PointerEvent(type, { pointerId: 3, buttons: 1,
          clientX: box.left + (i % 100) * 2, clientY: box.top + Math.floor(i / 100) * 2 });
        let shown = 0, read = 0;
        new MutationObserver((records) => (shown += records.length))
          .observe(pad, { attributeFilter: ["d"], subtree: true });
        d.addEventListener("mnistc-predict", () => read++);
        pad.dispatchEvent(make("pointerdown", 0));
        const event = make("pointermove", 9999);
        event.getCoalescedEvents = () => Array.from({ length: 9999 }, (_, i) => make("pointermove", i));
        pad.dispatchEvent(event);
        await new Promise((resolve) => setTimeout(resolve, 300));
        return [shown, read, d.strokes[0].length]`);
      assert.deepEqual([shown, points], [2, 10_000]);
      assert.ok(read <= 2);
      noErrors();
    });

    test("a key held down does not lift the pen again", async () => {
      await open("/one.html");
      const result = await browser.run(`${READY}
        const pad = d.shadowRoot.querySelector(".pad");
        const press = (key, repeat) => pad.dispatchEvent(
          new KeyboardEvent("keydown", { key, repeat, cancelable: true, bubbles: true }));
        const stopped = [press(" "), press(" ", true), press(" ", true), press("ArrowDown", true)];
        press("ArrowDown", true);
        return [stopped, d.strokes.map((stroke) => stroke.length)]`);
      assert.deepEqual(result, [[false, false, false, false], [3]]);
    });

    test("the looks of the ink change nothing of what is read", async () => {
      await open("/one.html");
      const seen = await browser.run(`${READY}
        d.strokes = mnistc.samples()[8];
        return [20, 70, 140].map((pen) => {
          d.style.setProperty("--mnistc-pen", pen);
          d.style.setProperty("--mnistc-ink", pen > 70 ? "red" : "lime");
          d.setAttribute("theme", pen > 70 ? "dark" : "light");
          d.style.width = pen * 4 + "px";
          d.predict();
          return [parseFloat(getComputedStyle(d.shadowRoot.querySelector(".ink")).strokeWidth),
            JSON.stringify([d.pixels, d.probabilities])];
        })`);
      assert.deepEqual(seen.map(([width]) => width), [20, 70, 140]);
      assert.equal(new Set(seen.map(([, read]) => read)).size, 1);
      noErrors();
    });

    for (const [path, what] of Object.entries({
      "/strict.html": "a strict Content-Security-Policy with trusted types",
      "/old.html": "no constructable style sheets",
      "/nonce.html": "no constructable style sheets, a policy with a nonce",
      "/old-strict.html": "no constructable style sheets, a strict policy",
      "/module.html": "the ES module, with a model file beside it",
      "/twice.html": "double loading, and an id that takes the global's name",
    })) {
      test(`works with ${what}`, async () => {
        await open(path);
        const [digit, cursor, width] = await browser.run(`
          await customElements.whenDefined("mnistc-digit"); ${READY}
          await new Promise((resolve) => setTimeout(resolve, 300));
          d.strokes = [[[0.5, 0.2], [0.5, 0.8]]];
          const pad = d.shadowRoot.querySelector(".pad"), box = pad.getBoundingClientRect();
          return [d.prediction, getComputedStyle(pad).cursor, Math.round(box.width - box.height)]`);
        assert.deepEqual([digit, cursor, width], [1, "crosshair", 0]);
        if (path != "/old-strict.html") noErrors(); // there a <style> is blocked before a <link> helps
      });
    }

    test("the original's two lines, self-closing as they were", async () => {
      await open("/drop-in.html");
      const first = await browser.run(`const [e] = document.getElementsByTagName("mnist-checker-widget");
        await e.ready; e.strokes = mnistc.samples()[2];
        return [e.prediction, e.weights.layers.some(({ type }) => type == "conv2d"), p.offsetHeight > 0]`);
      assert.deepEqual(first, [2, false, true]);
      await open("/drop-ins.html");
      const both = await browser.run(`return ["mnist-checker-widget", "mnist-convolution-checker-widget"]
        .map((tag) => {
          const [e] = document.getElementsByTagName(tag);
          e.strokes = mnistc.samples()[3];
          return [e.prediction, e.weights.layers.some(({ type }) => type == "conv2d")];
        })`);
      assert.deepEqual(both, [[3, false], [3, true]]);
      await open("/swallow.html");
      assert.equal(await browser.run("return p.offsetHeight > 0"), true);
      noErrors();
    });

    test("the demo page from file://, both networks on the same strokes", async () => {
      await browser.open(SITE_FILE);
      const result = await browser.run(`const digits = [...document.querySelectorAll("mnistc-digit")];
        await Promise.all(digits.map((digit) => digit.ready));
        digits[0].strokes = mnistc.samples()[5];
        digits[0].predict();
        await new Promise((resolve) => setTimeout(resolve, 300));
        const read = digits.map((digit) => digit.prediction);
        digits[0].clear();
        digits[0].predict();
        return [read, digits.map((digit) => digit.strokes.length)]`);
      assert.deepEqual(result, [[5, 5], [0, 0]]);
      noErrors();
    });

    test("an iframe, a script that comes late, an element that is made by script", async () => {
      await open("/frame.html");
      assert.equal(await browser.run(`await new Promise((resolve) => f.contentWindow.d ? resolve()
        : f.addEventListener("load", resolve));
        const { d } = f.contentWindow; await d.ready; d.strokes = [[[0, 0], [0, 1]]];
        return d.prediction`), 1);
      await open("/late.html");
      const late = await browser.run(`d.strokes = [[[0, 0], [0, 1]]];
        const script = document.createElement("script");
        script.src = "/mnistc.global.js";
        document.head.append(script);
        await customElements.whenDefined("mnistc-digit");
        const made = document.createElement("mnistc-digit");
        made.strokes = [[[0, 0], [1, 0]]];
        document.body.append(made);
        await made.ready;
        return [d.prediction, made.strokes.length, made.prediction === null]`);
      assert.deepEqual(late, [1, 1, false]);
      noErrors();
    });

    test("without live prediction there is a button for it", async () => {
      await open("/manual.html");
      const result = await browser.run(`${READY} d.strokes = [[[0, 0], [0, 1]]];
        const before = d.prediction;
        const button = d.shadowRoot.querySelector('[part~="predict"]');
        button.click();
        const after = d.prediction, shown = button.offsetHeight;
        d.setAttribute("live", "");
        return [before, after, shown >= 44,
          d.shadowRoot.querySelector('[part~="predict"]').offsetHeight]`);
      assert.deepEqual(result, [null, 1, true, 0]);
    });

    test("hostile models are an event and a message, never an exception", async () => {
      await open("/hostile.html");
      const names = Object.keys(hostile()).filter((path) => path != "/labels.json");
      const results = await browser.run(`${READY}
        const results = [];
        for (const src of ${JSON.stringify([...names, "/nowhere.json", "data:,{}", "http://[", "javascript:1"])}) {
          const event = new Promise((resolve) => d.addEventListener("mnistc-error", resolve, { once: true }));
          d.setAttribute("src", src);
          const { detail, bubbles, composed } = await event;
          const rejected = await d.ready.then(() => false, () => true);
          results.push([src, !!detail.message && bubbles && composed && rejected,
            d.shadowRoot.querySelector("[role=alert]").textContent == detail.message, d.prediction]);
        }
        return results`);
      assert.equal(results.length, names.length + 4);
      for (const result of results) assert.deepEqual(result.slice(1), [true, true, null], result[0]);
      const labels = await browser.run(`window.x = null;
        d.src = ""; d.setAttribute("src", "/labels.json"); await d.ready;
        d.strokes = [[[0, 0], [1, 1]]];
        const text = d.shadowRoot.querySelector("ol").textContent;
        d.predict();
        await new Promise((resolve) => setTimeout(resolve, 100));
        return [text.includes("<img"), d.shadowRoot.querySelectorAll("img").length, window.x]`);
      assert.deepEqual(labels, [true, 0, null]);
      const mute = randomModel([{ type: "dense", units: 10, activation: "softmax" }]);
      mute.tensors["dense_0.weight"] = floatTensor(Array(7840).fill(3e38), [784, 10]);
      assert.deepEqual(await browser.run(`let said = "";
        d.addEventListener("mnistc-error", (event) => (said = event.detail.message), { once: true });
        d.weights = ${JSON.stringify(mute)};
        return [d.prediction, said, d.shadowRoot.querySelector("[role=alert]").textContent]`),
      [null, "That did not work: no finite answer", "That did not work: no finite answer"]);
      assert.deepEqual(browser.errors.filter((error) => !/Failed to load|cannot load|status|Cross-Origin|NetworkError|CORS/i.test(error)), []);
    });

    test("hostile strokes are an event and a message, and the drawing stays", async () => {
      await open("/one.html");
      const results = await browser.run(`${READY}
        d.strokes = [[[0, 0], [0, 1]]];
        const bad = [null, 7, "strokes", [[[NaN, 0]]], [[[0, Infinity]]], [[{}]], [null],
          [Array(1e6).fill([0, 0])], Array(1e6).fill([[0, 0]])];
        return bad.map((strokes) => {
          let message = "";
          d.addEventListener("mnistc-error", (event) => (message = event.detail.message), { once: true });
          d.strokes = strokes;
          return [message.length > 10, d.shadowRoot.querySelector("[role=alert]").textContent == message,
            d.strokes.length, d.prediction];
        })`);
      for (const result of results) assert.deepEqual(result, [true, true, 1, 1]);
      const many = await browser.run(`
        d.strokes = Array.from({ length: 5000 }, (_, i) => [[i % 70, i % 71], [i % 72, i % 73]]);
        return [d.strokes.length, d.prediction === null]`);
      assert.deepEqual(many, [5000, false]);
      noErrors();
    });

    test("a correction is kept here, downloadable, cancelable, and sent only on request", async () => {
      await open("/one.html");
      const result = await browser.run(`${READY} localStorage.clear();
        const correct = (label) => {
          const details = d.shadowRoot.querySelector('[part="wrong"]');
          details.open = true;
          details.querySelectorAll("[role=group] button")[label].click();
          return JSON.parse(localStorage.getItem("mnistc-history") || "[]");
        };
        d.strokes = [[[0, 0], [0, 1]]];
        d.predict();
        const kept = correct(7);
        d.addEventListener("mnistc-correction", (event) => event.preventDefault(), { once: true });
        const cancelled = correct(8).length;
        d.setAttribute("report-url", "/report");
        const sent = correct(9).length;
        await new Promise((resolve) => setTimeout(resolve, 300));
        return [kept.length, kept[0].label, kept[0].prediction, kept[0].pixels.length, cancelled, sent,
          d.shadowRoot.querySelectorAll('[part~="csv"], [part~="jsonl"]').length]`);
      assert.deepEqual(result, [1, 7, 1, 784, 1, 2, 2]);
      const reports = site.requests.filter(({ path }) => path == "/report");
      assert.deepEqual(reports.map(({ method, body }) => [method, JSON.parse(body).label]), [["POST", 9]]);
    });

    test("corrections are downloaded as JSON lines and as CSV in MNIST's layout", async () => {
      await open("/one.html");
      const texts = await browser.run(`${READY} localStorage.clear();
        const details = d.shadowRoot.querySelector('[part="wrong"]'), blobs = [], names = [];
        details.open = true;
        for (const digit of [3, 8]) {
          d.strokes = mnistc.samples()[digit];
          d.predict();
          details.querySelectorAll("[role=group] button")[9].click();
        }
        const make = URL.createObjectURL;
        URL.createObjectURL = (blob) => (blobs.push(blob), make(blob));
        HTMLAnchorElement.prototype.click = function () { names.push(this.download); };
        for (const type of ["jsonl", "csv"]) details.querySelector('[part~="' + type + '"]').click();
        details.querySelector('[part~="forget"]').click();
        return [names, await blobs[0].text(), await blobs[1].text(),
          localStorage.getItem("mnistc-history"), details.querySelectorAll('[part~="csv"]').length]`);
      const [names, json, csv, kept, buttons] = texts;
      assert.deepEqual([names, kept, buttons], [["mnistc.jsonl", "mnistc.csv"], "[]", 0]);
      const lines = json.trim().split("\n").map((line) => JSON.parse(line));
      assert.deepEqual(lines.map(({ label, prediction, strokes }) => [label, prediction, strokes.length]),
        [[9, 3, 1], [9, 8, 1]]);
      const rows = csv.trim().split("\n").map((line) => line.split(",").map(Number));
      rows.forEach(([label, ...pixels], i) => {
        assert.deepEqual([label, pixels.length, Math.max(...pixels)], [9, 784, 255]);
        assert.deepEqual(pixels, lines[i].pixels);
      });
      noErrors();
    });

    test("the history of corrections stays small and keeps the latest", async () => {
      await open("/one.html");
      const [size, labels] = await browser.run(`${READY}
        localStorage.clear();
        const kept = () => localStorage.getItem("mnistc-history");
        d.strokes = [Array.from({ length: 4000 }, (_, i) => [(i % 97) / 100, (i % 89) / 91])];
        d.predict();
        d.shadowRoot.querySelector('[part="wrong"]').open = true;
        const choices = d.shadowRoot.querySelectorAll("[role=group] button");
        let size = 0;
        for (let i = 0; i < 20; i++) {
          choices[i % 10].click();
          size = Math.max(size, kept().length);
        }
        const labels = JSON.parse(kept()).map(({ label }) => label);
        localStorage.clear();
        return [size, labels]`);
      assert.ok(size <= 1 << 20 && size > 1 << 18, size);
      assert.ok(labels.length > 3);
      labels.reverse().forEach((label, i) => assert.equal(label, (19 - i) % 10));
    });

    test("an uploaded picture is read", async () => {
      await open("/one.html");
      const result = await browser.run(`${READY}
        const picture = (ink, paper, digit) => {
          const canvas = document.createElement("canvas");
          canvas.width = 200; canvas.height = 260;
          const context = canvas.getContext("2d");
          context.fillStyle = paper; context.fillRect(0, 0, 200, 260);
          context.lineWidth = 22; context.lineCap = "round"; context.strokeStyle = ink;
          context.beginPath();
          for (const [x, y] of mnistc.samples()[digit][0]) context.lineTo(20 + 150 * x, 30 + 200 * y);
          context.stroke();
          return new Promise((resolve) => canvas.toBlob(resolve));
        };
        const drop = async (blob) => {
          const data = new DataTransfer();
          data.items.add(new File([blob], "digit.png", { type: "image/png" }));
          const event = new Event("drop", { bubbles: true, cancelable: true });
          event.dataTransfer = data;
          const done = new Promise((resolve) => ["predict", "error"].forEach((type) =>
            d.addEventListener("mnistc-" + type, resolve, { once: true })));
          d.shadowRoot.querySelector("section").dispatchEvent(event);
          return (await done).type;
        };
        const first = [await drop(await picture("#123", "#fff", 7)), d.prediction, d.strokes.length];
        first.push(await drop(await picture("#fe8", "#234", 2)), d.prediction);
        first.push(await drop(await picture("#456", "#cba", 7)), d.prediction);
        d.strokes = [[[0, 0], [0, 1]]];
        const second = d.prediction;
        d.undo();
        return [...first, second, d.prediction, await drop(new Blob(["no picture"]))]`);
      assert.deepEqual(result, ["mnistc-predict", 7, 0, "mnistc-predict", 2, "mnistc-predict", 7, 1, 7,
        "mnistc-error"]);
    });

    test("feature maps on demand, right to left, another language", async () => {
      await open("/one.html");
      const result = await browser.run(`${READY}
        document.dir = "rtl";
        mnistc.MnistDigit.texts.he = { empty: "\\u05e6\\u05d9\\u05d9\\u05e8", undo: "U" };
        d.lang = "he-IL";
        const say = d.shadowRoot.querySelector('[part="confidence"]').textContent;
        d.strokes = [[[0, 0], [0, 1]]];
        d.predict();
        const inside = d.shadowRoot.querySelector('[part="inside"]');
        const before = inside.querySelectorAll("canvas").length;
        inside.open = true;
        await new Promise((resolve) => setTimeout(resolve, 200));
        const row = d.shadowRoot.querySelector("li").getBoundingClientRect();
        const label = d.shadowRoot.querySelector("li b").getBoundingClientRect();
        return [say, before, inside.querySelectorAll("canvas").length > 2, label.right == row.right,
          d.shadowRoot.querySelector('[part~="redo"]').title]`);
      assert.deepEqual(result, ["\u05e6\u05d9\u05d9\u05e8", 0, true, true, "Redo"]);
      noErrors();
    });

    test("every target is 44 pixels large, in a column of 240 pixels too", async () => {
      await open("/one.html");
      const small = await browser.run(`${READY} d.style.width = "240px";
        d.strokes = [[[0, 0], [0, 1]]]; d.predict();
        for (const details of d.shadowRoot.querySelectorAll("details")) details.open = true;
        await new Promise((resolve) => setTimeout(resolve, 200));
        const inner = d.shadowRoot.querySelector("section");
        return [[...d.shadowRoot.querySelectorAll("button, summary")]
          .filter((e) => e.offsetParent && (e.offsetWidth < 44 || e.offsetHeight < 44))
          .map((e) => e.outerHTML), inner.scrollWidth <= inner.clientWidth]`);
      assert.deepEqual(small, [[], true]);
    });
  });
}

test("the sources of both engines' expectations are the built files", { skip: noSite }, () => {
  const built = readFileSync(new URL("../../../mnistc/widget/dist/core.js", import.meta.url), "utf8");
  assert.equal(readFileSync(join(folder, "core.js"), "utf8"), built);
});
