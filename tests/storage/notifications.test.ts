import { afterAll, beforeAll, expect, test } from "vitest";
import { type Database, openDatabase } from "../../src/storage/database.ts";
import { Notifications } from "../../src/storage/notifications.ts";
import { createTestDatabase } from "../helpers/test-database.ts";
import { waitFor } from "../helpers/wait-for.ts";

let drop: () => Promise<void>;
let database: Database;
beforeAll(async () => {
  const created = await createTestDatabase();
  drop = created.drop;
  database = openDatabase({ url: created.url, applicationName: "drover" });
});
afterAll(async () => {
  await database.close();
  await drop();
});

function server() {
  const heard: string[] = [];
  const notifications = new Notifications(database, {
    heard: (text) => void heard.push(text),
    // One that goes out while its connection is ended is an error that is borne.
    onError: () => {},
  });
  return { notifications, heard };
}

/** How many connections listen: they are idle after what was said last through them. */
async function endListening(): Promise<number> {
  const rows = await database.sql`
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND query LIKE 'SELECT pg_notify(%' AND query NOT LIKE '%unnest%' AND pid <> pg_backend_pid()`;
  return rows.length;
}

test("servers hear each other, however much one has to say, and never themselves", async () => {
  const [one, two] = [server(), server()];
  await one.notifications.start();
  one.notifications.say("nobody is there");
  await two.notifications.start();
  const long = "ä".repeat(3_000);
  await waitFor(() => {
    one.notifications.say("one");
    two.notifications.say("two");
    return one.heard.includes("two") && two.heard.includes("one");
  });
  const many = Array.from(
    { length: 300 },
    (_, index) => `${index} of many, each of which is a text of some length`,
  );
  for (const text of [...many, long, "x".repeat(9_000), "last"]) one.notifications.say(text);
  await waitFor(() => two.heard.includes("last"));
  expect(two.heard).toEqual(expect.arrayContaining([...many, long]));
  expect(two.heard).not.toContain("nobody is there");
  expect(new Set(one.heard)).toEqual(new Set(["two"]));

  // Both connections that listen are lost, as when the database starts anew.
  await waitFor(async () => (await endListening()) >= 2);
  await waitFor(() => {
    one.notifications.say("again");
    return two.heard.includes("again");
  });
  await Promise.all([one.notifications.stop(), two.notifications.stop()]);
  await one.notifications.stop();
});
