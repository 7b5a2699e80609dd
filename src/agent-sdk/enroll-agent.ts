import { Code } from "@connectrpc/connect";
import { AgentError, refusalOf } from "./agent-error.ts";
import {
  type AgentProfile,
  bearer,
  openConnection,
  type ServerAddress,
  type ServerOptions,
} from "./connection-options.ts";

import { addressesOf } from "./server-choice.ts";

export interface EnrollOptions extends ServerOptions, AgentProfile {
  /** The agent's name, unique in the project. */
  readonly name: string;
  readonly enrollmentToken: string;
  /** Names this enrollment: repeated with the same nonce it is the same agent, with a fresh token. */
  readonly nonce: string;
  /** In milliseconds; 30 seconds when left out. */
  readonly timeoutMs?: number;
}

/** Makes an agent by an enrollment token, at the first server that answers; resolves to the agent's own token. Throws AgentError. */
export async function enrollAgent(options: EnrollOptions): Promise<string> {
  const servers = addressesOf(options);
  for (const [index, url] of servers.entries()) {
    try {
      return await enrollAt({ url, tls: options.tls }, options);
    } catch (error) {
      // The nonce makes it the same enrollment elsewhere, should the answer alone have been lost.
      const isLast = index === servers.length - 1;
      if (isLast || !(error instanceof AgentError) || error.code !== Code.Unavailable) throw error;
    }
  }
  throw new Error("there is one server at least");
}

async function enrollAt(server: ServerAddress, options: EnrollOptions): Promise<string> {
  const { name, nonce, labels, capabilities, deviceInfo, enrollmentToken, timeoutMs = 30_000 } = options;
  const connection = openConnection(server);
  try {
    const { secret } = await connection.client.enroll(
      {
        name,
        nonce,
        labels: { ...labels },
        capabilities: [...(capabilities ?? [])],
        ...(deviceInfo === undefined ? {} : { deviceInfo }),
      },
      { headers: bearer(enrollmentToken), timeoutMs },
    );
    return secret;
  } catch (error) {
    throw new AgentError(refusalOf(error, { url: server.url, answered: false }), error);
  } finally {
    connection.close();
  }
}
