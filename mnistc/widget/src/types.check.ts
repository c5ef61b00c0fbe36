/** Compiled, never run: the published declarations and the sources say the same. */
import type * as sources from "./mnistc.js";
import type { ENGLISH } from "./texts.js";
import type * as declared from "./static/mnistc.js";

type Same<A, B> = [A] extends [B] ? ([B] extends [A] ? true : never) : never;
type Assignable<A, B> = A extends B ? true : never;

export const texts: Same<typeof ENGLISH, declared.Texts> = true;
export const names: Same<keyof typeof sources, keyof typeof declared> = true;
export const rasterize: Assignable<typeof sources.rasterize, typeof declared.rasterize> = true;
// A model is opaque to its users: what the sources want to know of it is more than is declared.
type Opaque<F> = F extends (model: never, ...rest: infer R) => infer V ? (...rest: R) => V : never;
export const predict: Assignable<ReturnType<typeof sources.predict>, number[]> = true;
export const classify: Assignable<
  Opaque<typeof sources.classify>, Opaque<typeof declared.classify>> = true;
export const loadModel: Assignable<typeof sources.loadModel, typeof declared.loadModel> = true;
export const bitmap: Assignable<typeof sources.bitmapToPixels, typeof declared.bitmapToPixels> = true;
export const register: Assignable<typeof sources.register, typeof declared.register> = true;
export const samples: Assignable<typeof sources.samples, typeof declared.samples> = true;
export const element: Assignable<
  Pick<sources.MnistDigit, keyof declared.MnistDigit>, declared.MnistDigit> = true;
