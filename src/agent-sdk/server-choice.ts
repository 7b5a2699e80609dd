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
  #at = 0;

  /** `random` from 0 to 1 chooses their order: a fleet spreads over its servers, and so do those that lose one of them. */
  constructor(server: ServerOptions, random: number) {
    this.#addresses = shuffle(addressesOf(server), random);
    this.#tls = server.tls;
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

/** One of all orders; the random number's digits, to the base of what is left, choose one after another. */
function shuffle(addresses: readonly string[], random: number): string[] {
  const left = [...addresses];
  const order: string[] = [];
  for (let digits = random; left.length > 0; ) {
    const scaled = digits * left.length;
    const place = Math.min(Math.floor(scaled), left.length - 1);
    digits = scaled - place;
    order.push(...left.splice(place, 1));
  }
  return order;
}
