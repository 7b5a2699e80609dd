// The package's entry `drover/agent`: from the sources in a checkout, compiled in the published package.
import { existsSync } from "node:fs";

const source = new URL("../src/agent-sdk/agent-client.ts", import.meta.url);
const compiled = new URL("../dist/src/agent-sdk/agent-client.js", import.meta.url);

export const {
  AgentClient,
  AgentError,
  TaskFailedError,
  WorkStopped,
  enrollAgent,
  fileCredentialStore,
  memoryCredentialStore,
} = await import(existsSync(source) ? source.href : compiled.href);
