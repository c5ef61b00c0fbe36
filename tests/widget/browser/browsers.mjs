/**
 * Chromium, Firefox and WebKitGTK behind one small interface, with real input events.
 *
 * open(url) loads a page; run(code) evaluates an expression or an async function's body in it;
 * draw(points, type) drags a mouse or a finger (one of `pointers`) through viewport coordinates;
 * press(keys) types.
 */
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";

const require = createRequire(new URL("../../../mnistc/widget/package.json", import.meta.url));
const puppeteer = require("puppeteer-core");

const firstThere = (paths) => paths.find((path) => path && existsSync(path));
const PATHS = {
  chromium: firstThere([process.env.CHROMIUM, "/usr/bin/chromium", "/usr/bin/google-chrome"]),
  firefox: firstThere([process.env.FIREFOX, "/usr/bin/firefox-esr", "/usr/bin/firefox"]),
  webkit: firstThere(["/usr/bin/WebKitWebDriver"]),
};
const MINI_BROWSER = firstThere([
  "/usr/lib/x86_64-linux-gnu/webkit2gtk-4.1/MiniBrowser",
  "/usr/lib/x86_64-linux-gnu/webkit2gtk-4.0/MiniBrowser",
  "/usr/lib/aarch64-linux-gnu/webkit2gtk-4.1/MiniBrowser",
]);

/** Why a browser cannot be tested here; undefined if it can. */
export function missing(name) {
  if (!PATHS[name]) return `${name} is not installed`;
  if (name == "webkit" && !MINI_BROWSER) return "WebKitGTK's MiniBrowser is not installed";
  if (name == "webkit" && !existsSync("/usr/bin/Xvfb")) return "Xvfb is not installed";
  return undefined;
}

export function launch(name, options = {}) {
  return name == "webkit" ? WebKit.launch(options) : Puppet.launch(name, options);
}

/** An expression, or statements with a return. */
const asFunction = (code) =>
  `(async () => { ${/;|\breturn\b/.test(code) ? code : `return ${code}`} })()`;

class Puppet {
  static async launch(name, { prefs = {}, args = [] } = {}) {
    const profile = await mkdtemp(join(tmpdir(), `mnistc-${name}-`));
    const chromium = [
      "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
      "--disable-background-networking", "--disable-component-update", "--disable-sync",
    ];
    const browser = await puppeteer.launch({
      browser: name == "firefox" ? "firefox" : "chrome", executablePath: PATHS[name], headless: true,
      userDataDir: profile, args: name == "firefox" ? args : [...chromium, ...args],
      protocolTimeout: 60_000,
      extraPrefsFirefox: { "dom.w3c_touch_events.enabled": 1, "app.update.enabled": false,
        "datareporting.policy.dataSubmissionEnabled": false,
        "network.captive-portal-service.enabled": false,
        "network.connectivity-service.enabled": false, ...prefs },
    });
    return Object.assign(new Puppet(), { name, browser, profile, errors: [],
      pointers: ["mouse", "touch"] });
  }

  async open(url, { width = 800, height = 700, scale = 1, media = [] } = {}) {
    if (this.page) await this.page.close();
    this.errors = [];
    this.page = await this.browser.newPage();
    this.page.on("pageerror", (error) => this.errors.push(String(error.message || error)));
    this.page.on("console", (message) => {
      if (message.type() == "error") this.errors.push(message.text());
    });
    await this.page.setViewport({ width, height, deviceScaleFactor: scale });
    if (media.length) await this.page.emulateMediaFeatures(media);
    await this.page.goto(url);
  }

  run(code) {
    return this.page.evaluate(asFunction(code));
  }

  async draw(points, type = "mouse") {
    const [[x, y], ...rest] = points;
    if (type == "touch") {
      await this.page.touchscreen.touchStart(x, y);
      for (const point of rest) await this.page.touchscreen.touchMove(...point);
      return this.page.touchscreen.touchEnd();
    }
    await this.page.mouse.move(x, y);
    await this.page.mouse.down();
    for (const point of rest) await this.page.mouse.move(...point);
    return this.page.mouse.up();
  }

  async press(keys) {
    for (const key of keys) await this.page.keyboard.press(key == "Space" ? " " : key);
  }

  screenshot(path, options = {}) {
    return this.page.screenshot({ path, ...options });
  }

  async close() {
    await this.browser.close();
    await rm(this.profile, { recursive: true, force: true, maxRetries: 5 });
  }
}

/** WebDriver's names of keys that are no characters. */
const KEYS = {
  ArrowLeft: "\ue012", ArrowUp: "\ue013", ArrowRight: "\ue014", ArrowDown: "\ue015",
  Enter: "\ue007", Backspace: "\ue003", Escape: "\ue00c", Tab: "\ue004",
};

class WebKit {
  static async launch({ scale = 1 } = {}) {
    const port = 20_000 + Math.floor(Math.random() * 20_000);
    const display = `:${100 + Math.floor(Math.random() * 9000)}`;
    const quiet = { stdio: "ignore" };
    const server = spawn("Xvfb", [display, "-screen", "0", "2400x2100x24", "-nolisten", "tcp"], quiet);
    const home = await mkdtemp(join(tmpdir(), "mnistc-webkit-"));
    const driver = spawn(PATHS.webkit, [`--port=${port}`], { ...quiet, env: {
      ...process.env, DISPLAY: display, GDK_SCALE: String(scale), HOME: home, XDG_CACHE_HOME: home,
      XDG_DATA_HOME: home, XDG_CONFIG_HOME: home, WEBKIT_DISABLE_SANDBOX_THIS_IS_DANGEROUS: "1",
      WEBKIT_FORCE_SANDBOX: "0", LIBGL_ALWAYS_SOFTWARE: "1", NO_AT_BRIDGE: "1",
    } });
    const self = Object.assign(new WebKit(), { name: "webkit", server, driver, home, errors: [],
      base: `http://127.0.0.1:${port}`,
      // It makes a mouse of a finger, and of a pen too, except where the pen moves.
      pointers: ["mouse"] });
    for (let tries = 0; ; tries++) {
      try {
        const { sessionId } = await self.call("POST", "/session", { capabilities: { alwaysMatch: {
          "webkitgtk:browserOptions": { binary: MINI_BROWSER, args: ["--automation"] } } } });
        self.session = `/session/${sessionId}`;
        await self.call("POST", `${self.session}/timeouts`, { script: 120_000 });
        return self;
      } catch (error) {
        if (tries > 40) throw error;
        await new Promise((resolve) => setTimeout(resolve, 250));
      }
    }
  }

  async call(method, path, body) {
    const response = await fetch(this.base + path, {
      method, body: body && JSON.stringify(body), headers: { "Content-Type": "application/json" } });
    const { value } = await response.json();
    if (!response.ok) throw new Error(`${value.error}: ${value.message}`);
    return value;
  }

  async open(url) {
    await this.call("POST", `${this.session}/url`, { url });
    this.errors = [];
  }

  async run(code) {
    const script = `const done = arguments[0];
      ${asFunction(code)}.then((value) => done({ value }), (error) => done({ error: String(error) }));`;
    const result = await this.call("POST", `${this.session}/execute/async`, { script, args: [] });
    if (result.error) throw new Error(result.error);
    return result.value;
  }

  async draw(points, type = "mouse") {
    const move = ([x, y]) =>
      ({ type: "pointerMove", duration: 0, x: Math.round(x), y: Math.round(y) });
    const [first, ...rest] = points;
    await this.call("POST", `${this.session}/actions`, { actions: [{
      type: "pointer", id: type, parameters: { pointerType: type }, actions: [
        move(first), { type: "pointerDown", button: 0 }, ...rest.map(move),
        { type: "pointerUp", button: 0 }],
    }] });
  }

  async press(keys) {
    const actions = keys.flatMap((key) => ["keyDown", "keyUp"].map((type) =>
      ({ type, value: KEYS[key] || (key == "Space" ? " " : key) })));
    await this.call("POST", `${this.session}/actions`, {
      actions: [{ type: "key", id: "keys", actions }] });
  }

  async screenshot(path) {
    const { writeFile } = await import("node:fs/promises");
    await writeFile(path, await this.call("GET", `${this.session}/screenshot`), "base64");
  }

  async close() {
    await this.call("DELETE", this.session).catch(() => {});
    this.driver.kill();
    this.server.kill();
    await rm(this.home, { recursive: true, force: true, maxRetries: 5 });
  }
}
