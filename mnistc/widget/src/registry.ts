/** Models that come with the script, by name, and where the script itself came from. */
import { loadModel, MAX_FILE, type Model } from "./model.js";

const embedded = new Map<string, unknown>();
const loaded = new Map<string, Model>();
let base = "";

export function setBase(url: string): void {
  base = url;
}

/** URL of a file that lies beside the script. */
export const beside = (name: string): string => new URL(name, base || document.baseURI).href;

/** Makes a model file (JSON text or parsed) known under a name, for the attribute `model`. */
export function register(name: string, json: unknown): void {
  embedded.set(name, json);
  loaded.delete(name);
}

/** The embedded model of that name; of the first one if none was asked for or it is not there. */
export function embeddedModel(name: string | null, fallback: boolean): Model | null {
  const key = name !== null && embedded.has(name) ? name
    : name === null || fallback ? [...embedded.keys()][0] : undefined;
  if (key === undefined) return null;
  if (!loaded.has(key)) loaded.set(key, loadModel(embedded.get(key)));
  return loaded.get(key)!;
}

/** The text at a URL, given up on as soon as it is too long for a model. */
export async function fetchModel(url: string): Promise<Model> {
  const response = await fetch(url, { credentials: "same-origin" });
  if (!response.ok) throw new Error(`${response.status} ${response.statusText}`);
  const reader = response.body!.getReader(), decoder = new TextDecoder();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return loadModel(text + decoder.decode());
    text += decoder.decode(value, { stream: true });
    if (text.length > MAX_FILE) {
      void reader.cancel();
      throw new Error(`more than ${MAX_FILE} characters`);
    }
  }
}
