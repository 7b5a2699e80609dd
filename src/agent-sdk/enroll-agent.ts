import { AgentError, refusalOf } from "./agent-error.ts";
import { type AgentProfile, bearer, openConnection, type ServerOptions } from "./connection-options.ts";

export interface EnrollOptions extends ServerOptions, AgentProfile {
  /** The agent's name, unique in the project. */
  readonly name: string;
  readonly enrollmentToken: string;
  /** Names this enrollment: repeated with the same nonce it is the same agent, with a fresh token. */
  readonly nonce: string;
  /** In milliseconds; 30 seconds when left out. */
  readonly timeoutMs?: number;
}

/** Makes an agent by an enrollment token; resolves to the agent's own token. Throws AgentError. */
export async function enrollAgent(options: EnrollOptions): Promise<string> {
  const { name, nonce, labels, capabilities, deviceInfo, enrollmentToken, timeoutMs = 30_000 } = options;
  const connection = openConnection(options);
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
    throw new AgentError(refusalOf(error), error);
  } finally {
    connection.close();
  }
}
