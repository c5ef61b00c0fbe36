/** In every engine: what comes at another time, in another order or to another place than usual. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { randomModel, SMALL } from "../models.mjs";
import { launch, missing } from "./browsers.mjs";
import { noSite, page, serve } from "./site.mjs";

const BOTH = `<mnist-checker-widget id=mlp></mnist-checker-widget>
  <mnist-convolution-checker-widget id=cnn></mnist-convolution-checker-widget>`;
const script = (name) => `<script defer src="/${name}.js"></script>`;
const three = randomModel([...SMALL.slice(0, -1), { ...SMALL.at(-1), units: 3 }], { labels: ["a", "b", "c"] });

const PAGES = {
  "/one.html": { body: page("<mnistc-digit id=d></mnistc-digit>") },
  "/first.html": { body: page(BOTH, script("mnist_widget") + script("mnist_convolution_widget")) },
  "/second.html": { body: page(BOTH, script("mnist_convolution_widget") + script("mnist_widget")) },
  "/slow.json": { type: "application/json", stream: (response) => setTimeout(() => response.end("{}"), 500) },
  "/full": { status: 507, body: "" },
};
const START = `await d.ready; const part = (name) => d.shadowRoot.querySelector("[part=" + name + "]");
  // After the next frame, with which ink is read.
  const soon = () => new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve)));`;

for (const name of ["chromium", "firefox", "webkit"]) {
  describe(name, { skip: missing(name) || noSite }, () => {
    let browser, site;
    const run = async (code, path = "/one.html") => {
      await browser.open(site.url + path);
      return browser.run(code);
    };
    before(async () => {
      site = await serve(PAGES);
      browser = await launch(name);
    });
    after(async () => {
      await browser.close();
      site.close();
    });

    test("drop-ins before their scripts get the networks of their names", async () => {
      for (const path of ["/first.html", "/second.html"]) {
        const names = await run(`await cnn.ready; await mlp.ready;
          return [mlp.weights.name, cnn.weights.name]`, path);
        assert.deepEqual(names, ["mlp", "cnn"], path);
      }
    });

    test("ready of a model that another one replaced is the other's", async () => {
      assert.equal(await run(`${START} d.setAttribute("src", "/slow.json");
        const { ready } = d; d.removeAttribute("src"); await ready; return d.weights.name`), "cnn");
    });

    test("turned live again, what was drawn is read; turned off, nothing old is shown", async () => {
      assert.deepEqual(await run(`${START} d.setAttribute("live", "false");
        d.strokes = mnistc.samples()[4]; d.removeAttribute("live"); await soon();
        const live = part("digit").textContent;
        d.strokes = mnistc.samples()[7]; d.setAttribute("live", "false"); await soon();
        return [live, d.prediction, part("digit").textContent]`), ["4", null, "\u2013"]);
    });

    test("what cannot be read leaves no older reading", async () => {
      assert.deepEqual(await run(`${START} d.strokes = mnistc.samples()[4]; d.predict();
        const before = part("digit").textContent;
        const pad = d.shadowRoot.querySelector(".pad"), box = pad.getBoundingClientRect();
        const event = (type, x, y) => new PointerEvent(type, { pointerId: 3, isPrimary: true,
          clientX: box.left + x * box.width, clientY: box.top + y * box.height });
        const tell = (type, points) => pad.dispatchEvent(Object.assign(event(type, 0.5, 0.2),
          { getCoalescedEvents: () => points.map((point) => event(type, ...point)) }));
        tell("pointerdown", []); // too long a stroke, as many points a frame as a fast tablet's
        for (let i = 0; i < 10_500; i += 100) tell("pointermove", Array.from({ length: 100 },
          (_, j) => [((i + j) % 2) * 0.01 + (i + j) / 20_000, 0.2]));
        tell("pointerup", []); await soon();
        return [before, part("digit").textContent, d.prediction,
          d.shadowRoot.querySelector("[role=group]").hidden, part("error").textContent != ""]`),
      ["4", "\u2013", null, true, true]);
    });

    test("in another document it keeps its style", async () => {
      assert.deepEqual(await run(`${START} const element = d;
        const frame = document.body.appendChild(document.createElement("iframe"));
        frame.contentDocument.body.append(element); await soon();
        const pad = element.shadowRoot.querySelector(".pad");
        const look = () => pad.ownerDocument.defaultView.getComputedStyle(pad).cursor;
        const there = look(); document.body.append(element); await soon();
        return [there, look()]`),
      ["crosshair", "crosshair"]);
    });

    test("a failure is told until there is a model", async () => {
      assert.deepEqual(await run(`${START} d.setAttribute("src", "/nowhere.json");
        await d.ready.catch(() => 0); const said = part("error").textContent;
        document.body.prepend(d); d.setAttribute("lang", "en-GB");
        const same = part("error").textContent == said && said != "";
        d.removeAttribute("src"); await d.ready; return [same, part("error").textContent]`),
      [true, ""]);
    });

    test("a failure ends the loading", async () => {
      assert.deepEqual(await run(`${START} d.weights = null; const failed = part("confidence").textContent;
        d.lang = "en-GB"; return [failed, part("confidence").textContent]`), ["", ""]);
    });

    test("a model is found that is registered after the element asked for it", async () => {
      assert.deepEqual(await run(`${START} const text = await (await fetch("/mlp.json")).text();
        const names = [];
        for (const name of ["other", "slow"]) { // one that failed already, one that is on its way
          d.setAttribute("model", name);
          if (name == "other") await d.ready.catch(() => names.push("failed"));
          mnistc.register("another", text);
          mnistc.register(name, text);
          await d.ready;
          names.push(d.weights.name, part("error").textContent);
        }
        return names`), ["failed", "mlp", "", "mlp", ""]);
    });

    test("a full storage costs no older correction", async () => {
      assert.deepEqual(await run(`${START} localStorage.clear();
        const correct = (label) => {
          d.predict();
          d.shadowRoot.querySelectorAll("[role=group] button")[label].click();
          return JSON.parse(localStorage.getItem("mnistc-history")).map((each) => each.label);
        };
        d.strokes = mnistc.samples()[1];
        const first = correct(1), { setItem } = Storage.prototype;
        const room = localStorage.getItem("mnistc-history").length;
        Storage.prototype.setItem = function (key, text) {
          if (text.length > room) throw new DOMException("full", "QuotaExceededError");
          setItem.call(this, key, text);
        };
        d.strokes = mnistc.samples()[8];
        return [first, correct(8)]`), [[1], [1]]);
    });

    test("what is said of a drawing goes with it", async () => {
      assert.match(await run(`${START} const status = d.shadowRoot.querySelector(".hidden[role=status]");
        const said = () => new Promise((resolve) => new MutationObserver(() => resolve(status.textContent))
          .observe(status, { childList: true }));
        d.strokes = mnistc.samples()[4]; d.predict();
        const first = await said();
        d.clear(); d.predict();
        return first + "|" + await said()`), /^4, \d+% sure\|$/);
    });

    test("as many probabilities as labels, read or not", async () => {
      assert.deepEqual(await run(`${START} d.weights = ${JSON.stringify(three)};
        const none = d.probabilities; d.strokes = mnistc.samples()[4];
        return [none, d.probabilities.length]`), [[0, 0, 0], 3]);
    });

    test("a report that the server does not take is an error", async () => {
      assert.match(await run(`${START} d.setAttribute("report-url", "/full");
        d.strokes = mnistc.samples()[4]; d.predict();
        const failed = new Promise((resolve) => d.addEventListener("mnistc-error", resolve));
        d.shadowRoot.querySelector("[role=group] button").click();
        return (await failed).detail.message`), /status 507/);
    });
  });
}
