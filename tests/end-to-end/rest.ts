import type { ServerProcess } from "../helpers/server-process.ts";

// biome-ignore lint/suspicious/noExplicitAny: answers of any shape, whose fields the tests name
export type Answer = any;

/** Calls to the REST door with a token; throws what is refused. */
export function restOf({ httpUrl }: Pick<ServerProcess, "httpUrl">, token: string) {
  return async (method: string, path: string, body?: unknown): Promise<Answer> => {
    const response = await fetch(`${httpUrl}${path}`, {
      method,
      headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    });
    if (!response.ok) throw new Error(`${method} ${path}: ${await response.text()}`);
    return await response.json();
  };
}
