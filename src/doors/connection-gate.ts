import type { Socket } from "node:net";
import type { Service } from "../runtime/service.ts";

/** How many connections a server keeps, over all of its ports. */
export interface ConnectionLimits {
  /** In all. */
  readonly inAll: number;
  /** From one IP address. */
  readonly perAddress: number;
  /** From one IP address and unproven: no call of theirs has brought a valid token yet. */
  readonly unprovenPerAddress: number;
  /** For how long a connection waits for one of the places of its address, in ms; 20 s when left out. */
  readonly waitMs?: number;
  /** How long an unproven one keeps its place while others of its address wait for one, in ms; 2 s when left out. */
  readonly proveWithinMs?: number;
  /** What all unproven connections together may send within about a minute, in bytes; 64 MiB when left out. */
  readonly unprovenBytes?: number;
}

export const DEFAULT_CONNECTION_LIMITS: ConnectionLimits = {
  inAll: 50_000,
  perAddress: 20_000,
  unprovenPerAddress: 1_000,
};

const WAIT_MS = 20_000;
const PROVE_WITHIN_MS = 2_000;
/** What Node keeps of a body in small pieces is four times as much. */
const UNPROVEN_BYTES = 64 * 1024 * 1024;
const LOOK_EVERY_MS = 250;
/** Makes half of what was sent a minute ago, which is how long a request may take to become complete. */
const FADING = 0.5 ** (LOOK_EVERY_MS / 60_000);

interface Guest {
  readonly socket: Socket;
  readonly neighbours: Neighbours;
  state: "waiting" | "unproven" | "proven" | "gone";
  /** When it began to wait, or was let in; ms of the monotonic clock. */
  sinceMs: number;
  /** Bytes that it has sent, up to the last look; and what of them still counts. */
  seenBytes: number;
  weight: number;
  readonly letIn: () => void;
}

/** The connections of one address. */
interface Neighbours {
  readonly address: string;
  /** In the order in which they were let in. */
  readonly unproven: Set<Guest>;
  /** In the order in which they came. */
  readonly waiting: Set<Guest>;
  count: number;
}

/**
 * Bounds connections before a byte of them is read. Whoever has no place is cut off at once, except for the last
 * limit: an address whose unproven connections fill their places may be ten thousand agents that come back at the same
 * moment. Those wait, unread and almost free of cost, and are let in as the ones before them bring their tokens; an
 * unproven connection that keeps others waiting has to go after a while.
 *
 * What a stranger sends is held in memory until the request is complete, and only then looked at. So the bytes of
 * unproven connections are counted too, and where they become too many, those go that sent the most.
 */
export class ConnectionGate implements Service {
  readonly #limits: ConnectionLimits;
  readonly #neighbours = new Map<string, Neighbours>();
  /** Let in and not gone, by their endpoint. */
  readonly #guests = new Map<string, Guest>();
  #count = 0;
  #refused = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(limits: ConnectionLimits = DEFAULT_CONNECTION_LIMITS) {
    this.#limits = limits;
  }

  /** Connections that are open, waiting ones too, and how many were cut off for want of a place. */
  get counts(): { open: number; refused: number } {
    return { open: this.#count, refused: this.#refused };
  }

  async start(): Promise<void> {
    this.#timer = setInterval(() => {
      this.#makeRoom(performance.now());
      this.#weigh();
    }, LOOK_EVERY_MS);
    this.#timer.unref();
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    for (const { waiting } of this.#neighbours.values()) {
      for (const { socket } of waiting) socket.destroy();
    }
  }

  /** Calls `letIn` when the connection may be served, which can be never; nothing of it may have been read before. */
  admit(socket: Socket, letIn: () => void): void {
    const address = socket.remoteAddress;
    // Already gone.
    if (address === undefined) {
      socket.destroy();
      return;
    }
    const neighbours = this.#neighboursOf(address);
    if (this.#count >= this.#limits.inAll || neighbours.count >= this.#limits.perAddress) {
      this.#refused += 1;
      this.#forget(neighbours);
      // A reset, where a polite end would keep the connection here until its peer agrees.
      socket.resetAndDestroy();
      return;
    }
    const guest: Guest = {
      socket,
      neighbours,
      state: "waiting",
      sinceMs: performance.now(),
      seenBytes: 0,
      weight: 0,
      letIn,
    };
    this.#count += 1;
    neighbours.count += 1;
    socket.once("close", () => this.#left(guest));
    // A connection that breaks while nobody serves it must not end the process.
    socket.on("error", () => {});
    neighbours.waiting.add(guest);
    this.#fill(neighbours);
  }

  /** A call on this connection brought a valid token. */
  prove(address: string, port: number): void {
    const guest = this.#guests.get(endpointOf(address, port));
    if (guest === undefined || guest.state !== "unproven") return;
    guest.state = "proven";
    guest.neighbours.unproven.delete(guest);
    this.#fill(guest.neighbours);
  }

  #neighboursOf(address: string): Neighbours {
    let found = this.#neighbours.get(address);
    if (found === undefined) {
      found = { address, unproven: new Set(), waiting: new Set(), count: 0 };
      this.#neighbours.set(address, found);
    }
    return found;
  }

  #fill(neighbours: Neighbours): void {
    for (const guest of neighbours.waiting) {
      if (neighbours.unproven.size >= this.#limits.unprovenPerAddress) return;
      neighbours.waiting.delete(guest);
      neighbours.unproven.add(guest);
      guest.state = "unproven";
      guest.sinceMs = performance.now();
      this.#guests.set(endpointOf(neighbours.address, guest.socket.remotePort ?? 0), guest);
      guest.letIn();
    }
  }

  #left(guest: Guest): void {
    const { neighbours, socket } = guest;
    const key = endpointOf(neighbours.address, socket.remotePort ?? 0);
    if (this.#guests.get(key) === guest) this.#guests.delete(key);
    guest.state = "gone";
    neighbours.waiting.delete(guest);
    neighbours.unproven.delete(guest);
    neighbours.count -= 1;
    this.#count -= 1;
    this.#fill(neighbours);
    this.#forget(neighbours);
  }

  #forget(neighbours: Neighbours): void {
    if (neighbours.count === 0) this.#neighbours.delete(neighbours.address);
  }

  #weigh(): void {
    const guests: Guest[] = [];
    let total = 0;
    for (const { unproven } of this.#neighbours.values()) {
      for (const guest of unproven) {
        const { bytesRead } = guest.socket;
        guest.weight = guest.weight * FADING + (bytesRead - guest.seenBytes);
        guest.seenBytes = bytesRead;
        total += guest.weight;
        guests.push(guest);
      }
    }
    endHeaviest(guests, total - (this.#limits.unprovenBytes ?? UNPROVEN_BYTES));
  }

  #makeRoom(nowMs: number): void {
    const { waitMs = WAIT_MS, proveWithinMs = PROVE_WITHIN_MS } = this.#limits;
    for (const { waiting, unproven } of this.#neighbours.values()) {
      for (const guest of waiting) {
        if (nowMs - guest.sinceMs < waitMs) break;
        this.#refused += 1;
        guest.socket.resetAndDestroy();
      }
      if (waiting.size === 0) continue;
      let wanted = waiting.size;
      for (const guest of unproven) {
        if (wanted === 0 || nowMs - guest.sinceMs < proveWithinMs) break;
        wanted -= 1;
        guest.socket.destroy();
      }
    }
  }
}

/** Ends the connections that sent the most, until what is left is within the budget. */
function endHeaviest(guests: Guest[], excess: number): void {
  let left = excess;
  for (const guest of guests.sort((a, b) => b.weight - a.weight)) {
    if (left <= 0) return;
    left -= guest.weight;
    guest.socket.resetAndDestroy();
  }
}

function endpointOf(address: string, port: number): string {
  return `${address} ${port}`;
}
