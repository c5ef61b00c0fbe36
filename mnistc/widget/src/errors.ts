/** Throws an error of that type, with that message, unless all is well. */
export function want(
  ok: unknown, message: string, Type: new (message: string) => Error = Error,
): asserts ok {
  if (!ok) throw new Type(message);
}
