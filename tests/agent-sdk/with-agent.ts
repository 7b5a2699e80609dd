import { afterEach, expect } from "vitest";
import {
  AgentClient,
  type AgentEvent,
  type AgentOptions,
  memoryCredentialStore,
} from "../../src/agent-sdk/agent-client.ts";
import { FakeSessionServer } from "./fake-session-server.ts";

const servers: FakeSessionServer[] = [];
const clients: AgentClient[] = [];

afterEach(async () => {
  for (const client of clients.splice(0)) await client.close();
  for (const server of servers.splice(0)) {
    await server.stop();
    expect(server.faults).toEqual([]);
  }
});

/** A server that ends with the test. */
export async function fakeServer(): Promise<FakeSessionServer> {
  const server = new FakeSessionServer();
  await server.start();
  servers.push(server);
  return server;
}

export interface TestAgent {
  readonly client: AgentClient;
  readonly events: AgentEvent[];
  /** The first event that fits, once it has happened. */
  sees<E extends AgentEvent["kind"]>(
    kind: E,
    fits?: (event: Extract<AgentEvent, { kind: E }>) => boolean,
  ): Promise<Extract<AgentEvent, { kind: E }>>;
}

/** An agent that ends with the test; it reconnects quickly. */
export function agentOf(server: FakeSessionServer, options: Partial<AgentOptions> = {}): TestAgent {
  const events: AgentEvent[] = [];
  const wake: (() => void)[] = [];
  const client = new AgentClient({
    url: server.url,
    credentials: memoryCredentialStore("drv_agt_a"),
    ...options,
    timing: { openMs: 2000, silenceMs: 1000, firstDelayMs: 20, longestDelayMs: 100, ...options.timing },
    onEvent: (event) => {
      events.push(event);
      for (const resolve of wake.splice(0)) resolve();
    },
  });
  clients.push(client);
  return {
    client,
    events,
    async sees(kind, fits = () => true) {
      for (let index = 0; ; index++) {
        while (events.length <= index) await new Promise<void>((resolve) => wake.push(resolve));
        const event = events[index];
        // The kind was compared, so the event is of that kind.
        if (event?.kind === kind && fits(event as Parameters<typeof fits>[0]))
          return event as Parameters<typeof fits>[0];
      }
    },
  };
}
