import type { ServerAddress, ServerOptions } from "./connection-options.ts";

/** The addresses of one server or of several that serve the same fleet. */
export function addressesOf({ url }: Pick<ServerOptions, "url">): string[] {
  const given = typeof url === "string" ? url.split(",") : url.flatMap((one) => one.split(","));
  const addresses = [...new Set(given.map((one) => one.trim()).filter((one) => one !== ""))];
  if (addresses.length === 0) throw new RangeError("an agent needs the address of a server");
  return addresses;
}

/** Which of several servers is spoken to. */
export class ServerChoice {
  readonly #addresses: readonly string[];
  readonly #tls: ServerOptions["tls"];
  #at: number;

  /** `random` from 0 to 1 chooses the first one, so that a fleet spreads over its servers. */
  constructor(server: ServerOptions, random: number) {
    this.#addresses = addressesOf(server);
    this.#tls = server.tls;
    this.#at = Math.min(Math.floor(random * this.#addresses.length), this.#addresses.length - 1);
  }

  get current(): ServerAddress {
    return { url: this.#addresses[this.#at] ?? "", tls: this.#tls };
  }

  /** Whether there is another one to turn to. */
  get hasOthers(): boolean {
    return this.#addresses.length > 1;
  }

  /** Turns to the next one: this one asked to, or was lost. */
  moveOn(): void {
    this.#at = (this.#at + 1) % this.#addresses.length;
  }
}
