/** Keeps the last `limit` bytes of what is written to it. */
export class OutputTail {
  readonly #limit: number;
  #chunks: Buffer[] = [];
  #kept = 0;
  #isCut = false;

  constructor(limit: number) {
    this.#limit = limit;
  }

  /** Whether something was written that is not kept. */
  get isCut(): boolean {
    return this.#isCut;
  }

  write(chunk: Buffer): void {
    this.#chunks.push(chunk);
    this.#kept += chunk.length;
    // Joined now and then only: a program may write byte by byte.
    if (this.#kept > 2 * this.#limit || this.#chunks.length > 4096) this.#trim();
  }

  /** What is kept, as UTF-8; a character whose beginning is gone is left out, and what is no UTF-8 shows as U+FFFD. */
  text(): string {
    this.#trim();
    const [bytes = Buffer.alloc(0)] = this.#chunks;
    let start = 0;
    while (this.#isCut && start < 3 && ((bytes[start] ?? 0) & 0xc0) === 0x80) start++;
    return bytes.toString("utf8", start);
  }

  #trim(): void {
    const all = Buffer.concat(this.#chunks);
    if (all.length > this.#limit) this.#isCut = true;
    // A copy, or the whole of what was written would stay in memory behind its end.
    const tail = Buffer.from(all.subarray(Math.max(0, all.length - this.#limit)));
    this.#chunks = [tail];
    this.#kept = tail.length;
  }
}
