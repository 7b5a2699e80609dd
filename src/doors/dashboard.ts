import { createHash } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import { extname, join } from "node:path";
import { chooseAlternative } from "../transcoder/quality-list.ts";
import {
  rawPathOf,
  sendHeaders,
  sendRefusal,
  type WebHandler,
  type WebRequest,
  type WebResponse,
} from "./web-handler.ts";

/** Scripts and styles come from this server, and so does everything that the page reads. */
const CONTENT_SECURITY_POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self'",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
  "require-trusted-types-for 'script'",
  "trusted-types 'none'",
].join("; ");

const PAGE_HEADERS = {
  "content-security-policy": CONTENT_SECURITY_POLICY,
  "x-content-type-options": "nosniff",
  "referrer-policy": "no-referrer",
  "cross-origin-opener-policy": "same-origin",
  "cross-origin-resource-policy": "same-origin",
};

const TYPES: Readonly<Record<string, string>> = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".svg": "image/svg+xml",
  ".md": "text/plain; charset=utf-8",
};

const SUFFIXES = { br: ".br", gzip: ".gz" } as const;
type Encoding = keyof typeof SUFFIXES | "identity";

interface Asset {
  type: string;
  /** The first twelve bytes of its SHA-256, in hex. */
  hash: string;
  cacheControl: string;
  bytes: Partial<Record<Encoding, Buffer>> & { identity: Buffer };
}

type Assets = ReadonlyMap<string, Asset>;

/**
 * The dashboard, as `scripts/build-dashboard.ts` leaves it in `folder`: `/` and the files that its page names. They are
 * read when first asked for and kept. Where it was not built, `/` says how that is done.
 */
export function createDashboard(folder: string): WebHandler {
  let kept: Promise<Assets> | undefined;
  const load = async (): Promise<Assets> => {
    const assets = await readAssets(folder);
    // What is not there yet is looked for again.
    if (assets.size === 0) kept = undefined;
    return assets;
  };
  return async (request, response) => {
    const path = rawPathOf(request);
    if (path !== "/" && !/^\/(?:assets\/)?[\w.-]+$/.test(path)) return false;
    kept ??= load();
    const assets = await kept;
    const asset = assets.get(path);
    if (asset === undefined && path !== "/") return false;
    if (request.method !== "GET" && request.method !== "HEAD") {
      response.setHeader("allow", "GET, HEAD");
      sendRefusal(response, 405, "this path can only be read");
    } else if (asset === undefined) {
      finish(response, 503, { "content-type": "text/plain; charset=utf-8" }, Buffer.from(NOT_BUILT));
    } else {
      sendAsset(request, response, asset);
    }
    return true;
  };
}

const NOT_BUILT =
  "The dashboard was not built in this checkout. Run `npm install` or `npm run prepare`, then load this page again.\n";

async function readAssets(folder: string): Promise<Assets> {
  const assets = new Map<string, Asset>();
  const entries = await readdir(folder, { recursive: true, withFileTypes: true }).catch(() => []);
  const paths = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  const present = new Set(paths);
  for (const path of paths) {
    const type = TYPES[extname(path)];
    if (type === undefined) continue;
    const identity = await readFile(path);
    const bytes: Asset["bytes"] = { identity };
    for (const encoding of ["br", "gzip"] as const) {
      const copy = `${path}${SUFFIXES[encoding]}`;
      if (present.has(copy)) bytes[encoding] = await readFile(copy);
    }
    const url = path.slice(folder.length).replaceAll("\\", "/").replace(/^\/*/, "/");
    assets.set(url === "/index.html" ? "/" : url, {
      type,
      hash: createHash("sha256").update(identity).digest("hex").slice(0, 24),
      // The build puts a hash of the content into the names of these.
      cacheControl: url.startsWith("/assets/") ? "public, max-age=31536000, immutable" : "no-cache",
      bytes,
    });
  }
  return assets;
}

function sendAsset(request: WebRequest, response: WebResponse, asset: Asset): void {
  const encoding = chooseEncoding(request, asset);
  const headers: Record<string, string> = {
    "content-type": asset.type,
    "cache-control": asset.cacheControl,
    etag: `"${asset.hash}${encoding === "identity" ? "" : `-${encoding}`}"`,
    vary: [response.getHeader("vary"), "Accept-Encoding"].filter(Boolean).join(", "),
    ...(encoding !== "identity" && { "content-encoding": encoding }),
  };
  if (matches(request.headers["if-none-match"], asset.hash)) {
    const { "content-type": _type, "content-encoding": _encoding, ...rest } = headers;
    finish(response, 304, rest);
  } else {
    finish(response, 200, headers, asset.bytes[encoding] ?? asset.bytes.identity);
  }
}

function chooseEncoding(request: WebRequest, { bytes }: Asset): Encoding {
  const accepted = request.headers["accept-encoding"];
  if (accepted === undefined) return "identity";
  const offers = (["br", "gzip"] as const).filter((encoding) => bytes[encoding] !== undefined);
  return chooseAlternative(String(accepted), offers, ["*"]) ?? "identity";
}

/** Whether the caller holds this content already, in any encoding. */
function matches(ifNoneMatch: string | undefined, hash: string): boolean {
  if (ifNoneMatch === undefined) return false;
  return ifNoneMatch.split(",").some((part) => {
    const tag = part.trim().replace(/^W\//, "").replaceAll('"', "");
    return tag === "*" || tag.replace(/-(br|gzip)$/, "") === hash;
  });
}

function finish(
  response: WebResponse,
  status: number,
  headers: Readonly<Record<string, string>>,
  body?: Buffer,
): void {
  const length = body === undefined ? {} : { "content-length": body.length };
  sendHeaders(response, status, { ...PAGE_HEADERS, ...headers, ...length });
  // Both classes take the same arguments here, but their overloads do not unite into one call signature.
  if ("stream" in response) response.end(body ?? "");
  else response.end(body ?? "");
}
