import { Code, ConnectError } from "@connectrpc/connect";

/** How a call ended: "ok", or the name of its error's code, such as "NotFound". Never rejects. */
export async function codeOf(call: Promise<unknown>): Promise<string> {
  try {
    await call;
    return "ok";
  } catch (error) {
    return Code[ConnectError.from(error).code];
  }
}
