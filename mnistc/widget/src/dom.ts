/** Elements without markup: nothing is ever parsed, so no text can become HTML. */
type Props = Record<string, unknown>;

function make(element: Element, props: Props, children: (Node | string)[]): void {
  for (const key of Object.keys(props)) {
    const value = props[key];
    if (typeof value == "function") element.addEventListener(key, value as EventListener);
    else element.setAttribute(key, value as string);
  }
  element.append(...children);
}

/** An element with attributes, listeners (where the value is a function) and children. */
export function h<K extends keyof HTMLElementTagNameMap>(
  tag: K, props: Props = {}, ...children: (Node | string)[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  make(element, props, children);
  return element;
}

export function svg(tag: string, props: Props, ...children: Node[]): SVGElement {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  make(element, props, children);
  return element;
}
