import type { JsonValue } from "@bufbuild/protobuf";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { scrubContext, scrubJson, scrubText } from "../../src/error-reports/scrub-secrets.ts";
import { mintToken } from "../../src/tokens/token.ts";

const R = "[REDACTED]";
const alnum = "Ab3dEf6hIj9kLm2nOp5qRs8tUv1wXy4z";
const drover = mintToken("agent", "01900000-0000-7000-8000-0123456789ab", new Uint8Array(32).fill(7));
const jwt = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NSJ9.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
// Written in parts, so that scanners of repositories do not take the examples for leaks.
const shapes: Readonly<Record<string, string>> = {
  drover,
  jwt,
  "unsigned jwt": "eyJhbGciOiJub25lIn0.eyJzdWIiOiIxIn0",
  ghp: `ghp_${alnum}abcd`,
  gho: `gho_${alnum}abcd`,
  ghu: `ghu_${alnum}abcd`,
  ghs: `ghs_${alnum}abcd`,
  ghr: `ghr_${alnum}abcd`,
  "github fine-grained": `github_pat_${alnum}_${alnum}`,
  gitlab: `glpat-${alnum.slice(0, 20)}`,
  "aws id": `AKIA${"IOSFODNN7EXAMPLE"}`,
  "aws temporary id": `ASIA${"IOSFODNN7EXAMPLE"}`,
  "slack bot": `xoxb-${"123456789012"}-${alnum}`,
  "slack user": `xoxp-${"123456789012"}-${alnum}`,
  "stripe live": `sk_live_${alnum}`,
  "stripe test": `sk_test_${alnum}`,
  "stripe restricted": `rk_live_${alnum}`,
  google: `AIza${"SyA-"}${alnum}abc`,
  openai: `sk-${alnum}${alnum}`,
  "openai project": `sk-proj-${alnum}_${alnum}`,
  anthropic: `sk-ant-api03-${alnum}-${alnum}`,
  npm: `npm_${alnum}abcd`,
};
const pem = `-----BEGIN RSA PRIVATE KEY-----\nMIIEow\nIBAAKC/+=\n-----END RSA PRIVATE KEY-----`;

describe("scrubText: known forms", () => {
  it.each(Object.entries(shapes))("%s", (_, secret) => {
    expect(scrubText(secret)).toBe(R);
    expect(scrubText(`refused ${secret}, giving up`)).toBe(`refused ${R}, giving up`);
    expect(scrubText(`(${secret})`)).toBe(`(${R})`);
    expect(scrubText(`at https://h/a/${secret}?b=1`)).not.toContain(secret);
    expect(scrubText(`the end is ${secret}.`)).not.toContain(secret);
    expect(scrubText(`id_${secret}`)).toBe(`id_${R}`);
  });

  it("private keys, whole, cut off, and with escaped line ends", () => {
    expect(scrubText(`before\n${pem}\nafter`)).toBe(`before\n${R}\nafter`);
    expect(scrubText(`before ${pem.slice(0, 45)}`)).toBe(`before ${R}`);
    expect(scrubText(JSON.stringify({ a: pem, b: 1 }))).toBe(`{"a":"${R}","b":1}`);
    expect(scrubText("-----BEGIN PRIVATE KEY-----\nx")).toBe(R);
    expect(scrubText("-----BEGIN CERTIFICATE-----\nx")).toBe("-----BEGIN CERTIFICATE-----\nx");
  });

  it.each([
    "task-0190aaaa-bbbb-cccc-dddd-eeeeeeeeeeee failed",
    "risk-assessment-of-the-whole-disk-array",
    "task_0190aaaabbbbccccddddeeeeeeeeeeee failed after 3 attempts at 12:30:45",
    "eyJust a word, heyJude.com/song.html",
    "see https://example.com:8080/a/b@c and http://[::1]:9090/x@y?z=1#k",
    "file://C:/Users/me@home, mailto:someone@example.com",
    "bearer token expired; basic authentication required",
    "WWW-Authenticate: Bearer realm=drover",
    "Token::new failed in session::open",
    "npm_config_cache is not set, sk-learn is old",
    "tokenCount=5, cookieDomain: example.com, passwordAge = 90, apiKeyName: main",
    "session 12:30 began; token 5: unexpected",
    "C:\\token\\new: no such file",
    "100% of %20 and %zz",
  ])("leaves %j", (text) => {
    expect(scrubText(text)).toBe(text);
  });
});

describe("scrubText: what stands around", () => {
  it.each([
    ["Authorization: Bearer xyz", `Authorization: ${R}`],
    ["authorization: Basic dXNlcjpwYXNz\nHost: h", `authorization: ${R}\nHost: h`],
    ["Proxy-Authorization: Custom a, b c\r\nHost: h", `Proxy-Authorization: ${R}\r\nHost: h`],
    ["sent Bearer xyz to h", `sent Bearer ${R} to h`],
    ["sent bearer token-1 to h", `sent bearer ${R} to h`],
    ["Basic dXNlcjpwYXNz", `Basic ${R}`],
    ["Cookie: a=b; c=d\nHost: h", `Cookie: ${R}\nHost: h`],
    ["Set-Cookie: sid=x; Path=/", `Set-Cookie: ${R}`],
    [`curl -H "Authorization: Bearer xyz" -v`, `curl -H "Authorization: ${R}" -v`],
    [`curl -H 'Cookie: a=b; c=d' -v`, `curl -H 'Cookie: ${R}' -v`],
    ["postgres://user:p4ss@host/db", `postgres://user:${R}@host/db`],
    ["redis://:p4ss@host", `redis://:${R}@host`],
    ["https://u:p@ss@host:80/a", `https://u:${R}@host:80/a`],
    ["postgres://u:pa/ss@host/db?x=a", `postgres://u:${R}@host/db?x=a`],
    ["amqp://a:b@h1,amqp://c:d@h2", `amqp://a:${R}@h1,amqp://c:${R}@h2`],
    ["https://h/?access_token=x1&b=2", `https://h/?access_token=${R}&b=2`],
    ["https://h/?b=2&api_key=x1#top", `https://h/?b=2&api_key=${R}`],
    ["login failed: user=bob password=hunter2", `login failed: user=bob password=${R}`],
    ["password=p,w;d&q end", `password=${R} end`],
    ["Server=h;Password=p;Database=d", `Server=h;Password=${R};Database=d`],
    ["{user: bob, password: hunter2}", `{user: bob, password: ${R}}`],
    ["token: abc, next", `token: ${R}, next`],
    ["api key: abc", `api key: ${R}`],
    ["token => abc", `token => ${R}`],
    ["password := 'a b c'", `password := '${R}'`],
    ['password="a \\" b" rest', `password="${R}" rest`],
    ["password='it''s' rest", `password='${R}' rest`],
    ["password=''x'' rest", `password=${R}'' rest`],
    ["{'token': 'x', 'n': 1}", `{'token': '${R}', 'n': 1}`],
    ['{"token":123,"n":1}', `{"token":"${R}","n":1}`],
    ['{"token":{"a":["}",1]},"n":1}', `{"token":"${R}","n":1}`],
    ['{"session":true,"jwt":null,"password":""}', '{"session":true,"jwt":null,"password":""}'],
    ['{"password":"cut off', `{"password":"${R}`],
    ["aws_secret_access_key=wJalrXUtnFEMI/K7MDENG", `aws_secret_access_key=${R}`],
    ["export AWS_SECRET_ACCESS_KEY=abc/d+e", `export AWS_SECRET_ACCESS_KEY=${R}`],
    ["mysql --password hunter2 --user bob", `mysql --password ${R} --user bob`],
    ["mysql --password=hunter2 --user bob", `mysql --password=${R} --user bob`],
    ["--token --verbose", "--token --verbose"],
    ['connect("password=it\'s") failed', `connect("password=${R}") failed`],
    ['connect("password=x").', `connect("password=${R}").`],
    ["token: ", "token: "],
    ["password:\nnext", "password:\nnext"],
    ["authorization=Bearer abc rest", `authorization=${R} rest`],
  ])("%j", (text, expected) => {
    expect(scrubText(text)).toBe(expected);
  });
});

describe("scrubText: behind encodings", () => {
  const secret = "s3cr3t/Value";

  it.each([
    ["JSON", JSON.stringify({ a: 1, password: secret, b: [2] })],
    ["JSON in JSON", JSON.stringify({ body: JSON.stringify({ apiKey: secret, n: 1 }) })],
    ["three times", JSON.stringify(JSON.stringify(JSON.stringify({ apiKey: secret })))],
    ["unicode escapes", `{"p\\u0061ssword":"${secret}"}`],
    ["percent", encodeURIComponent(JSON.stringify({ password: secret }))],
    ["percent twice", encodeURIComponent(encodeURIComponent(`password=${secret}`))],
    ["a URL in a query", `https://h/?next=${encodeURIComponent(`postgres://u:${secret}@h/d`)}`],
    ["an HTML entity", `&quot;password&quot;:&quot;${secret}&quot;`],
    ["a bearer in a query", "h=Bearer%20s3cr3t%2FValue"],
  ])("%s", (_, text) => {
    const scrubbed = scrubText(text);
    expect(scrubbed).toContain(R);
    expect(scrubbed).not.toMatch(/s3cr3t|Value/);
  });

  it("leaves JSON text valid", () => {
    const inner = { token: 5, session: { id: "x" }, keep: 'a "quoted" word', cookies: ["a"] };
    const scrubbed = scrubText(JSON.stringify({ inner: JSON.stringify(inner), n: 1 }));
    const outer: unknown = JSON.parse(scrubbed);
    expect(outer).toEqual({
      inner: JSON.stringify({ token: R, session: R, keep: 'a "quoted" word', cookies: R }),
      n: 1,
    });
  });
});

describe("scrubJson", () => {
  it("redacts whole values under secret keys, at any depth, and nothing else", () => {
    expect(
      scrubJson({
        agentToken: "x",
        "X-Api-Key": 5,
        headers: [{ authorization: ["a"], host: "h" }],
        credentials: { user: "u", deep: [{}] },
        tokenCount: 3,
        cookieDomain: "example.com",
        session: true,
        jwt: null,
        message: "password=x",
        empty: {},
        list: [],
      }),
    ).toEqual({
      agentToken: R,
      "X-Api-Key": R,
      headers: [{ authorization: R, host: "h" }],
      credentials: R,
      tokenCount: 3,
      cookieDomain: "example.com",
      session: true,
      jwt: null,
      message: `password=${R}`,
      empty: {},
      list: [],
    });
  });

  it("keeps every entry when keys are secrets themselves", () => {
    const scrubbed = scrubJson({ [drover]: 1, [jwt]: 2, "[REDACTED]#2": 3 });
    expect(scrubbed).toEqual({ [R]: 1, "[REDACTED]#2": 2, "[REDACTED]#2#2": 3 });
    expect(scrubJson(scrubbed)).toEqual(scrubbed);
  });

  it("treats __proto__ and constructor as data", () => {
    const text = '{"__proto__":{"token":"x","a":1},"constructor":{"prototype":"b"}}';
    const scrubbed = scrubJson(JSON.parse(text));
    expect(JSON.stringify(scrubbed)).toBe(text.replace('"x"', `"${R}"`));
    expect(Object.getPrototypeOf(scrubbed)).toBe(Object.prototype);
  });

  it("goes to a depth where recursion would end", () => {
    let value: JsonValue = { password: "planted" };
    for (let level = 0; level < 20_000; level++) value = level % 2 === 0 ? [value] : { a: value };
    let scrubbed = scrubJson(value);
    for (let level = 19_999; level >= 0; level--) {
      scrubbed = level % 2 === 0 ? ((scrubbed as JsonValue[])[0] ?? null) : (scrubbed as { a: JsonValue }).a;
    }
    expect(scrubbed).toEqual({ password: R });
  });

  it("takes scalars as they are", () => {
    for (const value of [null, true, 1.5, "", "abc"]) expect(scrubJson(value)).toBe(value);
    expect(scrubContext({ token: "x", a: 1 })).toEqual({ token: R, a: 1 });
  });

  it("does not change its input", () => {
    const value = { token: "x", list: ["Bearer abc", { jwt: "y" }] };
    const before = structuredClone(value);
    scrubJson(value);
    expect(value).toEqual(before);
  });
});

// Fragments that lean on one another: quotes, brackets, escapes, separators, keys and secrets.
const fragments = [
  ..."\"'`{}[]():=,;&<>?/\\%@#|+ \n.-_".split(""),
  ..."password token api_key Cookie: Authorization: Bearer Basic session null true a x1 user --token".split(
    " ",
  ),
  ..."%22 %3D %3a %2522 \\\" \\\\ \\n \\u0022 &quot; &amp; :// https:// -----BEGIN eyJ [REDACTED] #2 \" ''".split(
    " ",
  ),
  "-----BEGIN PRIVATE KEY-----",
  "-----END PRIVATE KEY-----",
  ...Object.values(shapes),
];
const anyText = fc.oneof(
  fc.array(fc.constantFrom(...fragments), { maxLength: 14 }).map((parts) => parts.join("")),
  fc.string({ unit: "binary", maxLength: 40 }),
);
const anyJson = fc.letrec<{ json: JsonValue }>((tie) => ({
  json: fc.oneof(
    { depthSize: "small" },
    anyText,
    fc.constantFrom<JsonValue>(null, true, false, 0, 1.5),
    fc.array(tie("json"), { maxLength: 4 }),
    fc.dictionary(
      fc.oneof(anyText, fc.constantFrom("token", "apiKey", "a", "tokenCount", "__proto__")),
      tie("json"),
      {
        maxKeys: 4,
      },
    ),
  ),
})).json;

describe("properties", () => {
  it("scrubs a text once and for all", () => {
    fc.assert(
      fc.property(anyText, (text) => {
        const once = scrubText(text);
        expect(scrubText(once)).toBe(once);
      }),
      { numRuns: 3_000 },
    );
  });

  it("scrubs a value once and for all", () => {
    fc.assert(
      fc.property(anyJson, (value) => {
        const once = scrubJson(value);
        expect(scrubJson(once)).toEqual(once);
      }),
      { numRuns: 500 },
    );
  });

  it("finds a planted secret between any neighbours", () => {
    const neighbours = fc
      .array(fc.constantFrom(...fragments), { maxLength: 6 })
      .map((parts) => parts.join(""));
    fc.assert(
      fc.property(
        neighbours,
        neighbours,
        fc.constantFrom(...Object.values(shapes)),
        (before, after, secret) => {
          // A letter or digit before a token makes it part of another word.
          fc.pre(!/[A-Za-z0-9]$/.test(before) && !before.includes(secret) && !after.includes(secret));
          expect(scrubText(before + secret + after)).not.toContain(secret);
        },
      ),
      { numRuns: 3_000 },
    );
  });

  const spellings = ["password", "apiKey", "AWS_SECRET_ACCESS_KEY", "x-auth-token", "credentials", "jwt"];
  const wrappings: ((key: string, secret: string) => string)[] = [
    (key, secret) => JSON.stringify({ a: [{ [key]: secret }] }),
    (key, secret) => JSON.stringify({ [key]: [1, { deep: secret }] }),
    (key, secret) => JSON.stringify({ log: JSON.stringify({ [key]: secret }) }),
    (key, secret) => JSON.stringify({ [key]: secret }, undefined, 2),
    (key, secret) => `${key}=${encodeURIComponent(secret)}&b=1`,
    (key, secret) => encodeURIComponent(JSON.stringify({ [key]: secret })),
    (key, secret) => `failed (${key}: ${JSON.stringify(secret)})`,
  ];

  it("finds a value under a secret key in every wrapping, whatever it is", () => {
    const anySecret = fc.string({ unit: "grapheme-ascii", minLength: 1, maxLength: 24 });
    fc.assert(
      fc.property(
        fc.constantFrom(...spellings),
        fc.constantFrom(...wrappings),
        anySecret,
        (key, wrap, random) => {
          const secret = `PLANTED${random}PLANTED`;
          expect(scrubText(wrap(key, secret))).not.toContain("PLANTED");
          expect(scrubText(`x ${wrap(key, secret)} y`)).not.toContain("PLANTED");
        },
      ),
      { numRuns: 2_000 },
    );
  });

  it("keeps the structure of a value", () => {
    fc.assert(
      fc.property(fc.dictionary(fc.stringMatching(/^[a-c]{1,5}$/), fc.integer()), (value) => {
        expect(scrubJson({ outer: [value, [value]] })).toEqual({ outer: [{ ...value }, [{ ...value }]] });
      }),
    );
  });
});

describe("time", () => {
  const long = 262_144;
  it.each([
    ..."a A eyJ eyJa. _eyJ -eyJabcde. sk- xsk- gh ghp_ AKIA drv_agt_ : = := :: a: token: token= token=[ token={".split(
      " ",
    ),
    ...'password=" password=\' " \' \\ \\\\" \\u0022 %22 %25 %2525 &amp; &quot; :// ://a: ://a:b@ ://a:b/ @ .'.split(
      " ",
    ),
    ..."-----BEGIN -----BEGIN+PRIVATE+KEY----- -- --token , ;a &a= token=, token=;a token=\\ Cookie: [REDACTED]".split(
      " ",
    ),
    "bearer ",
    "basic +",
    " ",
    "token= ",
    "--token  ",
    "token:  \t",
    "Cookie: a\n",
    "a b= ",
    "-----BEGIN PRIVATE KEY-----",
    `${shapes["aws id"]}eyJx`,
    `${shapes["aws id"]} eyJx`,
  ])("a long text of %j takes its length", (unit) => {
    const text = unit.repeat(Math.ceil(long / unit.length));
    const began = performance.now();
    scrubText(text);
    scrubText(`token=${text}`);
    scrubText(`"password": "${text}`);
    // Linear work takes a fraction of a second here; quadratic work takes a minute.
    expect(performance.now() - began).toBeLessThan(10_000);
  });
});
