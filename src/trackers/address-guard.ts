import { BlockList, isIP } from "node:net";

/** A host that the server's operator named for trackers: its addresses may be private. */
export interface AllowedHost {
  /** Name or address as a URL spells it, in lower case. */
  host: string;
  /** The only port, as a URL spells it (empty for the scheme's own); undefined for any. */
  port: string | undefined;
  /** Whether plain http will do. */
  insecure: boolean;
}

/** Reads `ghe.example.com`, `ghe.example.com:8443`, or an origin such as `http://10.0.0.5:4000`. */
export function parseAllowedHost(text: string): AllowedHost | undefined {
  const isOrigin = /^https?:\/\//.test(text);
  // A wildcard would be taken as a name, and never match.
  if (text.includes("*") || (!isOrigin && /[/@?#\s]/.test(text))) return undefined;
  const url = URL.parse(isOrigin ? text : `https://${text}`);
  if (url === null || (isOrigin ? url.origin !== text : url.href !== `${url.origin}/`)) return undefined;
  return {
    host: url.hostname,
    port: isOrigin || /:\d+$/.test(text) ? url.port : undefined,
    insecure: url.protocol === "http:",
  };
}

function isNamed(url: URL, { host, port, insecure }: AllowedHost): boolean {
  return (
    url.hostname === host &&
    (port === undefined || port === url.port) &&
    (url.protocol === "https:" || (insecure && url.protocol === "http:"))
  );
}

/** What is wrong with the address of a tracker's API, whatever its host resolves to; undefined where nothing is. */
export function addressProblem(text: string, allowed: readonly AllowedHost[]): string | undefined {
  const url = URL.parse(text);
  if (url === null) return "must be an address such as https://api.github.com";
  const isListed = allowed.some((host) => isNamed(url, host));
  if (url.protocol !== "https:" && !isListed) return "must begin with https://";
  if (url.username !== "" || url.password !== "") return "must not hold a name or password: use credential";
  if (url.search !== "" || url.hash !== "" || /[?#]/.test(text)) return "must not have a query or a fragment";
  const literal = literalAddress(url);
  if (literal !== undefined && !isListed && !isPublicAddress(literal)) return insideProblem;
  return undefined;
}

/** How refusals of addresses that point inward end. */
export const insideProblem =
  "must not point to a private, loopback or link-local address, unless DROVER_TRACKER_ALLOWED_HOSTS names its host";

/** Whether a connection of this URL may go to that address. */
export function mayConnect(url: URL, address: string, allowed: readonly AllowedHost[]): boolean {
  if (isPublicAddress(address)) return true;
  const listed = allowed.filter((host) => isNamed(url, host));
  // A name that resolves there by mistake or malice reaches machines that hand out credentials; whoever means it
  // writes the address itself.
  return listed.length > 0 && (!isLinkLocal(address) || literalAddress(url) !== undefined);
}

/** The address of a URL whose host is one. */
export function literalAddress(url: URL): string | undefined {
  const host = url.hostname.replace(/^\[(.*)\]$/, "$1");
  return isIP(host) === 0 ? undefined : host;
}

const linkLocal = new BlockList();
linkLocal.addSubnet("169.254.0.0", 16);
linkLocal.addSubnet("fe80::", 10, "ipv6");
// The metadata service of one cloud by its own IPv6 address.
linkLocal.addSubnet("fd00:ec2::", 32, "ipv6");

function isLinkLocal(address: string): boolean {
  const family = isIP(address);
  if (family === 6) {
    const inner = embeddedV4(groupsOf(address));
    if (inner !== undefined) return isLinkLocal(inner);
  }
  return linkLocal.check(address, family === 6 ? "ipv6" : "ipv4");
}

/* The special-purpose registries of IPv4: whatever is not globally reachable, and multicast. */
const specialV4 = new BlockList();
for (const [address, bits] of [
  ["0.0.0.0", 8],
  ["10.0.0.0", 8],
  ["100.64.0.0", 10],
  ["127.0.0.0", 8],
  ["169.254.0.0", 16],
  ["172.16.0.0", 12],
  ["192.0.0.0", 24],
  ["192.0.2.0", 24],
  ["192.88.99.0", 24],
  ["192.168.0.0", 16],
  ["198.18.0.0", 15],
  ["198.51.100.0", 24],
  ["203.0.113.0", 24],
  ["224.0.0.0", 3],
] as const) {
  specialV4.addSubnet(address, bits);
}

/**
 * Whether an address is one of the public internet. Of IPv6 that is 2000::/3 without what in it is reserved or carries
 * an IPv4 address to a relay, and the prefix of NAT64 where the IPv4 address in it is public.
 */
export function isPublicAddress(address: string): boolean {
  const family = isIP(address);
  if (family === 4) return !specialV4.check(address);
  if (family !== 6 || address.includes("%")) return false;
  const groups = groupsOf(address);
  const [first = 0, second = 0] = groups;
  if (first === 0x64 && second === 0xff9b) {
    const inner = embeddedV4(groups);
    return inner !== undefined && isPublicAddress(inner);
  }
  const isGlobal = first >= 0x2000 && first <= 0x3fff;
  const isProtocol = first === 0x2001 && (second < 0x200 || second === 0xdb8);
  return isGlobal && !isProtocol && first !== 0x2002 && !(first === 0x3fff && second < 0x1000);
}

/** The IPv4 address in a mapped or NAT64 address. */
function embeddedV4(groups: readonly number[]): string | undefined {
  const [high = 0, low = 0] = groups.slice(6);
  const prefix = groups.slice(0, 6).map((group) => group.toString(16));
  if (!["0:0:0:0:0:ffff", "64:ff9b:0:0:0:0"].includes(prefix.join(":"))) return undefined;
  return [high >> 8, high & 255, low >> 8, low & 255].join(".");
}

/** The eight groups of an IPv6 address; the URL parser writes every spelling of one in one way. */
function groupsOf(address: string): number[] {
  const plain = new URL(`http://[${address.replace(/%.*$/, "")}]`).hostname.slice(1, -1);
  const [head = "", tail] = plain.split("::");
  const read = (text: string) =>
    text === "" ? [] : text.split(":").map((group) => Number.parseInt(group, 16));
  const [before, after] = [read(head), read(tail ?? "")];
  return [...before, ...Array<number>(8 - before.length - after.length).fill(0), ...after];
}
