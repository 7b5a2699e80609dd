/** The names that a client's certificate holds as subject alternative names. */
export interface CertificateNames {
  readonly dns: readonly string[];
  readonly uris: readonly string[];
}

// Node joins the names by a comma and a space, and writes those as JSON strings that could be mistaken for more than one.
const ONE_NAME = /(?:^|, )(DNS|URI):("(?:[^"\\]|\\.)*"|[^,]*)/g;

/** Reads `subjectaltname` of node:tls. */
export function namesIn(subjectAltName: string | undefined): CertificateNames {
  const found = [...(subjectAltName ?? "").matchAll(ONE_NAME)].map(([, kind, text = ""]) => ({
    kind,
    name: text.startsWith('"') ? String(JSON.parse(text)) : text,
  }));
  const named = (wanted: string) => found.filter(({ kind }) => kind === wanted).map(({ name }) => name);
  return { dns: named("DNS"), uris: named("URI") };
}
