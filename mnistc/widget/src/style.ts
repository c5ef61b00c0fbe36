/**
 * The style sheet, under the strictest Content-Security-Policy: a constructed sheet where there
 * are any; else a <style> with the page's nonce; else, if that was blocked, mnistc.css beside the
 * script.
 */
import css from "./mnistc.css";
import { h } from "./dom.js";
import { beside } from "./registry.js";

let shared: CSSStyleSheet | null = null;

export function adoptStyle(root: ShadowRoot, nonce: () => string | null): void {
  if (root.adoptedStyleSheets && "replaceSync" in CSSStyleSheet.prototype) {
    if (!shared) (shared = new CSSStyleSheet()).replaceSync(css);
    root.adoptedStyleSheets = [shared];
    return;
  }
  const style = h("style", { nonce: nonce() || "" }, css);
  root.append(style);
  // Whether it was blocked shows only once the element is in a page.
  setTimeout(() => {
    if (root.host.isConnected && !style.sheet) {
      root.append(h("link", { rel: "stylesheet", href: beside("mnistc.css") }));
    }
  });
}
