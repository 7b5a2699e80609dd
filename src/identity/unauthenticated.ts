import { Refusal } from "../runtime/refusal.ts";

/** One text for every way in which a token can be no good, so that a guess learns nothing. */
export function unauthenticated(): Refusal {
  return new Refusal("unauthenticated", "a valid token is needed", {
    headers: { "www-authenticate": 'Bearer realm="drover"' },
  });
}
