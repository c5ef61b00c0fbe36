/** Elements without markup: nothing is ever parsed, so no text can become HTML. */
const SVG = /svg|path|rect/;

type Elements = HTMLElementTagNameMap & Pick<SVGElementTagNameMap, "svg" | "path" | "rect">;

/** An element with attributes, listeners (where the value is a function) and children. */
export function h<K extends keyof Elements>(
  tag: K, props: Record<string, unknown> = {}, ...children: (Node | string)[]
): Elements[K] {
  const space = SVG.test(tag) ? "2000/svg" : "1999/xhtml";
  const element = document.createElementNS("http://www.w3.org/" + space, tag);
  for (const [key, value] of Object.entries(props)) {
    if (typeof value == "function") element.addEventListener(key, value as EventListener);
    else element.setAttribute(key, value as string);
  }
  element.append(...children);
  return element as Elements[K];
}
