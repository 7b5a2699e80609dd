import { LRUCache } from "lru-cache";
import type { CertificateNames } from "../doors/client-certificate.ts";
import type { Peer } from "../doors/door.ts";
import type { AgentCaller, Caller } from "../identity/caller.ts";
import { Refusal } from "../runtime/refusal.ts";
import { decideCertificate } from "./decide-certificate.ts";

/** Refuses, with PERMISSION_DENIED, an agent's token on a connection whose certificate names another agent. */
export type CheckCertificate = (peer: Peer, caller: Caller) => Promise<void>;

/** Whether a project has an agent of that name. */
export type IsAgent = (projectId: string, name: string) => Promise<boolean>;

// An agent that is enrolled later under the name of some machine is known to be one within this time.
const REMEMBERED_MS = 10_000;
const MOST_REMEMBERED = 10_000;

/** The rule for servers that ask clients for certificates. It asks about machines' names as seldom as it can. */
export function createCertificateCheck(isAgent: IsAgent): CheckCertificate {
  const remembered = new LRUCache<string, Promise<boolean>>({ max: MOST_REMEMBERED, ttl: REMEMBERED_MS });
  const recall = (projectId: string, name: string): Promise<boolean> => {
    const key = `${projectId} ${name}`;
    const known = remembered.get(key) ?? isAgent(projectId, name);
    remembered.set(key, known, { noUpdateTTL: true });
    known.catch(() => remembered.delete(key));
    return known;
  };
  return async ({ certificate }, caller) => {
    if (caller.role !== "agent") return;
    const names = certificate?.();
    if (names !== undefined) await check(names, caller, recall);
  };
}

async function check(names: CertificateNames, caller: AgentCaller, isAgent: IsAgent): Promise<void> {
  const decision = decideCertificate(names, { project: caller.project, agent: caller.agentName });
  if (decision.kind === "fits") return;
  if (decision.kind === "names-another") throw refusal(caller.agentName, decision.other);
  for (const name of decision.candidates) {
    if (await isAgent(caller.projectId, name)) throw refusal(caller.agentName, name);
  }
}

function refusal(agent: string, other: string): Refusal {
  return new Refusal(
    "permission-denied",
    `the client certificate is that of ${other}, and the token is that of agent ${agent}`,
    { reason: "CERTIFICATE_OF_ANOTHER" },
  );
}
