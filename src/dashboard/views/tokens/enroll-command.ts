/** Ways to make an agent, as commands for a shell. Pure text. */
export const ways = { agent: "Drover's agent", curl: "curl" } as const;
export type Way = keyof typeof ways;

/** The command that enrolls an agent, with the token in it. */
export function enrollCommand(way: Way, given: { origin: string; secret: string; name: string }): string {
  const { origin, secret, name } = given;
  if (way === "agent") {
    return [
      `DROVER_TOKEN=${secret} \\`,
      `  npx drover agent run --grpc-url ${origin} \\`,
      `  --name ${name} --on 'hello=cat'`,
    ].join("\n");
  }
  return [
    `curl -s ${origin}/api/v1/agents:enroll \\`,
    `  -H 'Authorization: Bearer ${secret}' \\`,
    `  -H 'Content-Type: application/json' \\`,
    `  -d '{"name":"${name}","nonce":"${name}-1"}'`,
  ].join("\n");
}
