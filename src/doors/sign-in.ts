import { rawPathOf, sendJson, sendRefusal, type WebHandler, type WebRequest } from "./web-handler.ts";

/** A token for whoever brought a good code, and when it ends. */
export interface SignedIn {
  readonly secret: string;
  readonly expiresAt: Date;
}

/** Trades a code for a token; undefined where the code is good for nothing (any more). */
export type TradeCode = (code: string) => Promise<SignedIn | undefined>;

const MOST_BYTES = 1024;

/**
 * `POST /sign-in` with `{"code": …}`: trades the code of a sign-in link for a token. The code travels in the link's
 * fragment and in this body, never in an address, so that no log on the way can hold it.
 */
export function createSignIn(trade: TradeCode): WebHandler {
  return async (request, response) => {
    if (rawPathOf(request) !== "/sign-in") return false;
    response.setHeader("cache-control", "no-store");
    if (request.method !== "POST") {
      response.setHeader("allow", "POST");
      sendRefusal(response, 405, "signing in is a POST");
      return true;
    }
    // A page of another origin cannot send this type without asking first.
    if (!/^application\/json\s*(;|$)/i.test(request.headers["content-type"] ?? "")) {
      sendRefusal(response, 415, "send the code as application/json");
      return true;
    }
    const code = await readCode(request);
    if (code === undefined) {
      sendRefusal(response, 400, 'send {"code": "…"}, with the code of the sign-in link');
      return true;
    }
    const signedIn = await trade(code);
    if (signedIn === undefined) {
      const message = "the sign-in link was used before or is too old";
      sendJson(response, 401, { error: { code: 401, status: "UNAUTHENTICATED", message, details: [] } });
    } else {
      sendJson(response, 200, { secret: signedIn.secret, expiresAt: signedIn.expiresAt.toISOString() });
    }
    return true;
  };
}

async function readCode(request: WebRequest): Promise<string | undefined> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of request.iterator({ destroyOnReturn: false })) {
    // A request without an encoding set yields nothing but buffers.
    const bytes = chunk as Buffer;
    length += bytes.length;
    if (length > MOST_BYTES) return undefined;
    chunks.push(bytes);
  }
  try {
    const body: unknown = JSON.parse(Buffer.concat(chunks).toString("utf8"));
    if (typeof body !== "object" || body === null || !("code" in body)) return undefined;
    return typeof body.code === "string" && body.code !== "" ? body.code : undefined;
  } catch {
    return undefined;
  }
}
