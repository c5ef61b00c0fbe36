/**
 * The style sheet, under the strictest Content-Security-Policy: a constructed sheet where there
 * are any; else a <style> with the page's nonce; else, if that was blocked, mnistc.css beside the
 * script.
 */
import css from "./mnistc.css";
import { h } from "./dom.js";
import { beside } from "./registry.js";

export function adoptStyle(root: ShadowRoot): void {
  try {
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(css);
    root.adoptedStyleSheets = [sheet];
  } catch {
    // The element's attributes are there, and a block shows, only once it is in the page.
    setTimeout(() => {
      const style = h("style", { nonce: (root.host as HTMLElement).nonce || "" }, css);
      root.append(style);
      if (!style.sheet) root.append(h("link", { rel: "stylesheet", href: beside("mnistc.css") }));
    });
  }
}
