import { readdirSync, readFileSync, statSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";

const src = fileURLToPath(new URL("../src", import.meta.url));
const root = dirname(src);

/**
 * The floors: a file imports from its own folder and from lower floors only. Among slices the number's fraction is the
 * order, and slices of one floor do not meet but where `beside` says so.
 */
const floors: Record<string, number> = {
  runtime: 1,
  storage: 2,
  observability: 2,
  identity: 3.0,
  audit: 3.1,
  events: 3.1,
  idempotency: 3.1,
  quotas: 3.1,
  tokens: 3.2,
  projects: 3.2,
  // Below agents and tasks, whose changes tell agents what to do.
  commands: 3.2,
  agents: 3.3,
  "error-reports": 3.4,
  // Above error reports, whose scrubbing it uses.
  tasks: 3.45,
  trackers: 3.45,
  heartbeat: 3.5,
  passes: 3.5,
  liveness: 3.5,
  sessions: 3.6,
  fleet: 3.7,
  doors: 4.0,
  rpc: 4.1,
  "main.ts": 5,
  "control-plane.ts": 5,
  // What control-plane is put together of.
  wiring: 5,
  "server-metrics.ts": 5,
  "server-file.ts": 5,
  "config.ts": 5,
  "setting-rule.ts": 5,
  "telemetry-settings.ts": 5,
  // Looks at all of them, as an operator would.
  doctor: 5,
};

/** Folders that stand beside the floors, and all that they may import besides themselves and gen/. */
const apart: Record<string, string[]> = {
  transcoder: ["runtime"],
  "agent-sdk": ["runtime"],
  cli: ["runtime", "agent-sdk", "main.ts"],
  dashboard: ["runtime"],
};

interface Import {
  from: string;
  to: string;
  dynamic: boolean;
}

function sources(folder: string): string[] {
  return readdirSync(folder).flatMap((name) => {
    const path = join(folder, name);
    if (statSync(path).isDirectory()) return sources(path);
    return /\.tsx?$/.test(path) ? [path] : [];
  });
}

function importsOf(file: string): Import[] {
  const text = readFileSync(file, "utf8");
  const found: Import[] = [];
  for (const match of text.matchAll(/(?:\bfrom\s*|\bimport\s*)(\(?)\s*"(\.{1,2}\/[^"]+)"/g)) {
    const to = relative(src, resolve(dirname(file), match[2] ?? ""));
    found.push({ from: relative(src, file), to, dynamic: match[1] === "(" });
  }
  return found;
}

const place = (path: string): string => path.split("/")[0] ?? path;
const all = sources(src).flatMap(importsOf);
const inside = all.filter(({ to }) => !to.startsWith(".."));

describe("the floors", () => {
  test("every folder and top-level file of src has a place", () => {
    const places = new Set(sources(src).map((file) => place(relative(src, file))));
    const homeless = [...places].filter((name) => floors[name] === undefined && apart[name] === undefined);
    expect(homeless).toEqual([]);
  });

  test("imports go downward", () => {
    const upward = inside.filter(({ from, to }) => {
      const [own, other] = [place(from), place(to)];
      if (own === other) return false;
      const allowed = apart[own];
      if (allowed !== undefined) return !allowed.includes(other);
      // What stands apart is served or started from the upper floors alone.
      if (apart[other] !== undefined) return (floors[own] ?? 0) < 4;
      if ((floors[own] ?? 0) === 5 && (floors[other] ?? 0) === 5) return false;
      return (floors[other] ?? 9) >= (floors[own] ?? 0);
    });
    expect(upward).toEqual([]);
  });

  test("the command line reaches the server by dynamic imports alone", () => {
    expect(
      inside.filter(({ from, to, dynamic }) => place(from) === "cli" && to === "main.ts" && !dynamic),
    ).toEqual([]);
  });

  test("a slice's store is its own, but for the types of its rows", () => {
    const foreign = sources(src)
      .flatMap((file) => {
        const own = place(relative(src, file));
        if ((floors[own] ?? 0) < 3 || (floors[own] ?? 0) >= 4) return [];
        return importsOf(file)
          .filter(({ to }) => to.endsWith("-store.ts") && place(to) !== own)
          .map((found) => ({ ...found, file }));
      })
      .filter(({ file, to }) => !onlyTypes(file, to));
    expect(foreign.map(({ from, to }) => `${from} -> ${to}`)).toEqual([]);
  });

  test("pure rules import nothing that reads, writes or waits", () => {
    const pure = /(^|\/)(decide|plan|match|scrub)-[^/]*\.ts$/;
    const impure = all.filter(
      ({ from, to }) => pure.test(from) && /-store\.ts$|-service\.ts$|^storage\//.test(to),
    );
    expect(impure).toEqual([]);
  });

  test("no circle among files", () => {
    const edges = new Map<string, string[]>();
    for (const { from, to, dynamic } of inside) {
      if (!dynamic) edges.set(from, [...(edges.get(from) ?? []), to]);
    }
    expect(findCircle(edges)).toBeUndefined();
  });
});

function onlyTypes(file: string, to: string): boolean {
  const text = readFileSync(file, "utf8");
  const name = to.split("/").at(-1) ?? to;
  const statements = [...text.matchAll(/import\s+(type\s+)?\{([^}]*)\}\s+from\s+"([^"]+)"/g)].filter(
    (match) => match[3]?.endsWith(`/${name}`),
  );
  return statements.every(
    (match) =>
      match[1] !== undefined ||
      (match[2] ?? "").split(",").every((part) => part.trim() === "" || part.trim().startsWith("type ")),
  );
}

function findCircle(edges: Map<string, string[]>): string[] | undefined {
  const done = new Set<string>();
  const path: string[] = [];
  const visit = (file: string): string[] | undefined => {
    if (path.includes(file)) return [...path.slice(path.indexOf(file)), file];
    if (done.has(file)) return undefined;
    path.push(file);
    for (const next of edges.get(file) ?? []) {
      const circle = visit(next);
      if (circle !== undefined) return circle;
    }
    path.pop();
    done.add(file);
    return undefined;
  };
  for (const file of edges.keys()) {
    const circle = visit(file);
    if (circle !== undefined) return circle;
  }
  return undefined;
}

test("no file names a place outside the project", () => {
  const outside = sources(src).filter((file) =>
    /["'`]\/(?:home|root|work)\//.test(readFileSync(file, "utf8")),
  );
  expect(outside.map((file) => relative(root, file))).toEqual([]);
});
