/** Models that come with the script, by name, and where the script itself came from. */
import { want } from "./errors.js";
import { loadModel, MAX_FILE, type Model } from "./model.js";

const embedded = new Map<string, Model>();
/** Elements without the model that they want; each tells whether it still waits. */
let waiting: (() => unknown)[] = [];
let base = "";

export function setBase(url: string): void {
  base = url;
}

/** URL of a file that lies beside the script. */
export const beside = (name: string): string => new URL(name, base || document.baseURI).href;

/** Makes a model file (JSON text or parsed) known under a name, for the attribute `model`. */
export function register(name: string, json: unknown): void {
  embedded.set(name, loadModel(json));
  waiting = waiting.filter((waits) => waits());
}

/** Whether it has to wait for a model that a later script registers: then that asks again. */
export const wait = (waits: () => unknown) => waits() && waiting.push(waits);

/** The embedded model of that name; the first one, if any will do. */
export const embeddedModel = (name: string | null, any: boolean): Model | false | undefined =>
  embedded.get(name!) || (any && embedded.values().next().value);

/** Fetches; a status that tells of a failure is an error. */
export async function request(url: string, options?: RequestInit): Promise<Response> {
  const response = await fetch(url, options);
  want(response.ok, `status ${response.status}`);
  return response;
}

/** The model at a URL, or of that name beside the script; given up on as soon as it is too long. */
export async function fetchModel(url: string | null, name: string): Promise<Model> {
  const response = await request(url || beside(name + ".json"));
  const reader = response.body!.getReader(), chunks: BlobPart[] = [];
  for (let bytes = 0; bytes <= MAX_FILE;) {
    const { done, value } = await reader.read();
    if (done) break;
    chunks.push(value);
    bytes += value.length;
  }
  reader.cancel();
  return loadModel(await new Response(new Blob(chunks)).text());
}
