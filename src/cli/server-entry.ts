/** One setting of the server, as `drover serve` shows it. */
export interface Setting {
  /** Long name of the flag, without dashes before it. */
  readonly flag: string;
  /** Variable of the environment that says the same. */
  readonly env: string;
  readonly default: string;
  readonly description: string;
}

/** Values by the setting's flag; what was not given is not there. */
export type FlagValues = Record<string, string>;

/** What one look of `drover doctor` found. */
export interface Finding {
  readonly check: string;
  readonly state: "ok" | "skipped" | "warning" | "error";
  readonly message: string;
  /** What to do about it. */
  readonly cure?: string;
}

/** The server's side of the house, as far as commands on its own machine need it. */
export interface ServerEntry {
  readonly settings: readonly Setting[];
  /** Serves until SIGINT or SIGTERM. `printJson` gets what it listens on, instead of words on standard output. */
  serve(flagValues: FlagValues, printJson?: (json: string) => void): Promise<void>;
  migrate(flagValues: FlagValues): Promise<void>;
  recoverOperatorToken(flagValues: FlagValues): Promise<{ path: string }>;
  /** Looks at everything on the server's own machine; `serverUrl` is where its settings say that it answers. */
  examine(flagValues: FlagValues): Promise<{ findings: Finding[]; serverUrl: string | undefined }>;
}

/** Loads the server's code, which commands that only talk to a server do without. */
export async function loadServerEntry(): Promise<ServerEntry> {
  return await import("../main.ts");
}
