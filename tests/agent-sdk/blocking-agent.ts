/** A process whose work blocks its event loop for as long as the payload says, in milliseconds. */
import { AgentClient, memoryCredentialStore } from "../../src/agent-sdk/agent-client.ts";

const client = new AgentClient({
  url: process.argv[2] ?? "",
  credentials: memoryCredentialStore("drv_agt_a"),
  onEvent: (event) => {
    if (event.kind === "taskStopping") console.log(event.why.reason);
  },
});
void client.work<{ block: number }>({
  block: async ({ payload }) => {
    // Holds the thread without burning its core.
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, payload);
    await new Promise(setImmediate);
    return "blocked";
  },
});
await client.start();
