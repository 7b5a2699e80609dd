import type { PathTemplate, TemplateVariable } from "./path-template.ts";
import { decodePercent, NEEDS_DECODING } from "./percent-decoding.ts";

/** A variable's field and the text that the path gave it, decoded. */
export interface PathBinding {
  fieldPath: string;
  value: string;
}

/** What a request target leads to; `methods` of a refusal are those that have a route on that path. */
export type Match<Route> =
  | { kind: "route"; route: Route; bindings: PathBinding[] }
  | { kind: "other-method"; methods: string[] }
  | { kind: "malformed" }
  | { kind: "none" };

/** A method that stands for every method: google.api.http's `custom { kind: "*" }`. */
const ANY_METHOD = "*";

interface Leaf<Route> {
  route: Route;
  variables: TemplateVariable[];
}

class Node<Route> {
  readonly literals = new Map<string, Node<Route>>();
  one: Node<Route> | undefined;
  rest: Node<Route> | undefined;
  /** By verb ("" for none), then by HTTP method. */
  readonly leaves = new Map<string, Map<string, Leaf<Route>>>();
}

/**
 * Routes by the raw request target. At each segment a literal goes before `*`, and `*` before `**`, with
 * backtracking, so that the order of registration does not count. Each node of the trie is visited at most
 * once a search, which bounds the work by the number of routes.
 */
export class RouteTrie<Route> {
  readonly #root = new Node<Route>();
  readonly #verbs = new Set<string>();

  /** Adds a route; returns the one that already has the same shape and method, if there is one. */
  add(method: string, template: PathTemplate, route: Route): Route | undefined {
    let node = this.#root;
    for (const segment of template.segments) node = childOf(node, segment);
    const verb = template.verb === undefined ? "" : literalText(template.verb);
    const methods = node.leaves.get(verb) ?? new Map<string, Leaf<Route>>();
    node.leaves.set(verb, methods);
    const existing = methods.get(method);
    if (existing !== undefined) return existing.route;
    methods.set(method, { route, variables: template.variables });
    if (verb !== "") this.#verbs.add(verb);
    return undefined;
  }

  /** Finds the route of a method and a request target, query and all, as they came over the wire. */
  find(method: string, rawTarget: string): Match<Route> {
    const path = pathOf(rawTarget);
    if (path === undefined) return { kind: "none" };
    const raw = path.slice(1).split("/");
    const isPlain = !NEEDS_DECODING.test(path);
    if (!isPlain && raw.some((segment) => decodePercent(segment) === undefined)) return { kind: "malformed" };
    const verb = this.#cutVerb(raw);
    const segments = isPlain ? raw : raw.map((segment) => decodePercent(segment) ?? segment);
    const search = new Search<Route>(method, verb, segments);
    const leaf = search.visit(this.#root, 0);
    if (leaf !== undefined) return { kind: "route", route: leaf.route, bindings: bind(leaf.variables, raw) };
    if (search.methods === undefined) return { kind: "none" };
    return { kind: "other-method", methods: [...search.methods].sort() };
  }

  /**
   * Takes the verb off the last segment and returns it, or "": what follows the last colon, if it is registered.
   * A verb may itself hold colons, so the earlier ones are tried after it. An escaped colon does not count.
   */
  #cutVerb(raw: string[]): string {
    const last = raw.at(-1);
    if (last === undefined || !last.includes(":")) return "";
    const pieces = last.split(":");
    for (let count = pieces.length - 1; count > 0; count--) {
      const tail = pieces.slice(count).join(":");
      const verb = decodePercent(tail) ?? tail;
      if (!this.#verbs.has(verb)) continue;
      raw[raw.length - 1] = pieces.slice(0, count).join(":");
      return verb;
    }
    return "";
  }
}

class Search<Route> {
  /** Methods that the path has routes for; only gathered where the one asked for has none. */
  methods: Set<string> | undefined;
  readonly #method: string;
  readonly #verb: string;
  readonly #segments: string[];

  constructor(method: string, verb: string, segments: string[]) {
    this.#method = method;
    this.#verb = verb;
    this.#segments = segments;
  }

  visit(node: Node<Route>, depth: number): Leaf<Route> | undefined {
    const segment = this.#segments[depth];
    if (segment === undefined) {
      return this.#pick(node) ?? (node.rest && this.#pick(node.rest));
    }
    const literal = node.literals.get(segment);
    const found = literal && this.visit(literal, depth + 1);
    if (found !== undefined) return found;
    // An empty segment is nobody's name: `/agents/` is another path than `/agents/*`.
    const single = segment === "" || node.one === undefined ? undefined : this.visit(node.one, depth + 1);
    return single ?? (node.rest && this.#pick(node.rest));
  }

  #pick(node: Node<Route>): Leaf<Route> | undefined {
    const methods = node.leaves.get(this.#verb);
    if (methods === undefined) return undefined;
    const leaf =
      methods.get(this.#method) ??
      (this.#method === "HEAD" ? methods.get("GET") : undefined) ??
      methods.get(ANY_METHOD);
    if (leaf === undefined) {
      this.methods ??= new Set();
      for (const method of methods.keys()) this.methods.add(method);
    }
    return leaf;
  }
}

function childOf<Route>(node: Node<Route>, segment: string): Node<Route> {
  if (segment === "*") {
    node.one ??= new Node();
    return node.one;
  }
  if (segment === "**") {
    node.rest ??= new Node();
    return node.rest;
  }
  const text = literalText(segment);
  const child = node.literals.get(text) ?? new Node<Route>();
  node.literals.set(text, child);
  return child;
}

/** Literals are compared decoded, so that a template and a target may escape differently. */
function literalText(literal: string): string {
  return decodePercent(literal) ?? literal;
}

/** The path of an origin-form or absolute-form target; undefined for the other forms, which name no resource. */
function pathOf(rawTarget: string): string | undefined {
  const query = rawTarget.indexOf("?");
  const target = query < 0 ? rawTarget : rawTarget.slice(0, query);
  if (target.startsWith("/")) return target;
  const absolute = /^https?:\/\/[^/]*/i.exec(target);
  return absolute === null ? undefined : target.slice(absolute[0].length) || "/";
}

function bind(variables: TemplateVariable[], raw: string[]): PathBinding[] {
  return variables.map((variable) => {
    const { segments } = variable;
    const open = segments.at(-1) === "**";
    // Only a variable of exactly one segment is decoded fully; in the others a slash separates segments.
    const multiple = open || segments.length > 1;
    const parts = raw.slice(variable.start, open ? raw.length : variable.end);
    // The search has already decoded every segment, so none fails here.
    const value = parts.map((part) => decodePercent(part, multiple) ?? part).join("/");
    return { fieldPath: variable.fieldPath, value };
  });
}
