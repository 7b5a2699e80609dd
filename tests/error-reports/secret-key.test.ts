import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { isSecretKey } from "../../src/error-reports/secret-key.ts";

describe("isSecretKey", () => {
  it.each([
    ..."token password passwd secret authorization cookie bearer credential session jwt".split(" "),
    ..."tokens passwords secrets cookies credentials sessions jwts JWTs".split(" "),
    ..."apiKey api_key api-key api.key apikey APIKey APIkey API_KEY X-Api-Key xApiKeys apiKeys APIKeys".split(
      " ",
    ),
    ..."accessKey AWS_ACCESS_KEY privateKey private_key signingKey encryption-key secretKey SECRET_KEY".split(
      " ",
    ),
    ..."AWSSecretKey AWS_SECRET_ACCESS_KEY aws.secretAccessKey awsSecretAccessKeys accesskey privatekey".split(
      " ",
    ),
    ..."agentToken agent_token AGENT_TOKEN authtoken accesstoken refresh-token idToken clientSecret".split(
      " ",
    ),
    ..."set-cookie Set-Cookie proxy-authorization Proxy_Authorization dbPassword PGPASSWORD DBpassword".split(
      " ",
    ),
    ..."token2 password1 tokens[0] oauth2Token user[password] jwt_2".split(" "),
    "api key",
    "the session token",
    " token ",
    "$token",
  ])("%s is one", (key) => {
    expect(isSecretKey(key)).toBe(true);
  });

  it.each([
    ..."tokenCount cookieDomain apiKeyName secretsManagerEnabled passwordAge".split(" "),
    ..."token_count cookie-domain API_KEY_NAME SECRETS_MANAGER_ENABLED password.age sessionId jwtIssuer".split(
      " ",
    ),
    ..."tokenizer tokenized secretary passwords_total cookiecutter sessional bearers_count".split(" "),
    ..."key keys publicKey primaryKey foreignKeys cacheKey keyApi monkey mytokenized hotkey keyboard".split(
      " ",
    ),
    ..."tokené message id 12 _ [REDACTED]".split(" "),
    "",
    "__proto__",
    "constructor",
  ])("%s is none", (key) => {
    expect(isSecretKey(key)).toBe(false);
  });

  const words = ["aws", "my", "user", "x", "old"];
  const secretWords = [
    ["token"],
    ["password"],
    ["secret"],
    ["api", "key"],
    ["access", "keys"],
    ["credentials"],
  ];
  const spellings: ((words: readonly string[]) => string)[] = [
    (parts) => parts.join("_"),
    (parts) => parts.join("-"),
    (parts) => parts.join("."),
    (parts) => parts.join(" "),
    (parts) => parts.join("_").toUpperCase(),
    (parts) => parts.map(capitalised).join(""),
    (parts) => parts.map((part, index) => (index === 0 ? part : capitalised(part))).join(""),
    (parts) => parts.map(capitalised).join("-"),
  ];

  it("decides alike in every spelling: by the last words, and by no others", () => {
    fc.assert(
      fc.property(
        fc.array(fc.constantFrom(...words), { maxLength: 3 }),
        fc.constantFrom(...secretWords),
        fc.constantFrom(...spellings),
        (before, secret, spell) => {
          expect(isSecretKey(spell([...before, ...secret]))).toBe(true);
          expect(isSecretKey(spell([...before, ...secret, "count"]))).toBe(false);
        },
      ),
    );
  });
});

function capitalised(word: string): string {
  return word.charAt(0).toUpperCase() + word.slice(1);
}
