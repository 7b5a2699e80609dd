const alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const base = 62n;

/** Writes bytes, read as one big-endian number, in exactly `width` characters of 0-9A-Za-z. Throws RangeError if too narrow. */
export function encodeBase62(bytes: Uint8Array, width: number): string {
  let rest = BigInt(`0x0${Buffer.from(bytes).toString("hex")}`);
  let text = "";
  while (text.length < width) {
    text = alphabet.charAt(Number(rest % base)) + text;
    rest /= base;
  }
  if (rest !== 0n) throw new RangeError(`${bytes.length} bytes do not fit in ${width} characters`);
  return text;
}

/** Reads what `encodeBase62` wrote into `length` bytes; undefined for a foreign character or a number that is too large. */
export function decodeBase62(text: string, length: number): Uint8Array | undefined {
  let value = 0n;
  for (const character of text) {
    const digit = alphabet.indexOf(character);
    if (digit < 0) return undefined;
    value = value * base + BigInt(digit);
  }
  const hex = value.toString(16).padStart(length * 2, "0");
  return hex.length > length * 2 ? undefined : new Uint8Array(Buffer.from(hex, "hex"));
}
