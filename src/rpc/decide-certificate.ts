import type { CertificateNames } from "../doors/client-certificate.ts";

/** What a client certificate says about whether it may carry an agent's token. */
export type CertificateDecision =
  | { kind: "fits" }
  /** It says in so many words that it is another agent's. */
  | { kind: "names-another"; other: string }
  /** Names of machines or workloads: it is another agent's where one of them is the name of an agent. */
  | { kind: "candidates"; candidates: string[] };

/** A URI such as `spiffe://fleet.example/project/default/agent/gpu-1`; the project may be left out. */
const AGENT_URI = /^[a-z][a-z0-9+.-]*:\/\/[^/]*(?:\/[^/]+)*?(?:\/projects?\/([^/]+))?\/agents?\/([^/]+)$/;
const LAST_SEGMENT = /^[a-z][a-z0-9+.-]*:.*[/:]([^/:]+)$/;
const AGENT_NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/;

/**
 * Decides by the names in a certificate. Where a URI names agents, one of them must be the token's. Otherwise a DNS
 * name, or the last part of a URI, that is the token's agent fits; and so does a certificate that names no agent at all.
 */
export function decideCertificate(
  { dns, uris }: CertificateNames,
  token: { project: string; agent: string },
): CertificateDecision {
  const named = uris.flatMap((uri) => {
    const [, project, agent] = AGENT_URI.exec(uri) ?? [];
    return agent === undefined ? [] : [{ uri, project, agent }];
  });
  const [first] = named;
  if (first !== undefined) {
    const fits = named.some(
      ({ project, agent }) => agent === token.agent && (project === undefined || project === token.project),
    );
    return fits ? { kind: "fits" } : { kind: "names-another", other: first.uri };
  }
  const candidates = [...dns, ...uris.map((uri) => LAST_SEGMENT.exec(uri)?.[1] ?? "")];
  if (candidates.includes(token.agent)) return { kind: "fits" };
  return { kind: "candidates", candidates: candidates.filter((name) => AGENT_NAME.test(name)) };
}
