import { execFile } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { type Browser, chromium } from "playwright-core";

/**
 * Launches the Chromium that @sparticuz/chromium carries, as root or as anyone else, on a machine that has none of
 * its libraries. Close it when done.
 */
export async function launchChromium(): Promise<Browser> {
  const unpacked = await unpack();
  return chromium.launch({
    executablePath: join(unpacked, "chromium"),
    // Arguments of our own: those that the package recommends switch web security off, CORS with it. Playwright adds
    // a new, empty profile of its own.
    args: [
      "--headless",
      "--no-sandbox",
      "--disable-gpu",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
    ],
    env: {
      PATH: process.env.PATH ?? "",
      HOME: unpacked,
      TMPDIR: tmpdir(),
      LD_LIBRARY_PATH: `${join(unpacked, "al2023", "lib")}:${unpacked}`,
      FONTCONFIG_FILE: fontsOf(unpacked),
    },
  });
}

/** The package's own configuration names folders that are not there, and without a font a form field ends the browser. */
function fontsOf(unpacked: string): string {
  const file = join(unpacked, "fonts", "unpacked.conf");
  const header = '<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "fonts.dtd">';
  const folders = `<dir>${join(unpacked, "fonts", "fonts")}</dir><cachedir>${join(unpacked, "fonts", "cache")}</cachedir>`;
  writeFileSync(file, `${header}<fontconfig>${folders}</fontconfig>\n`);
  return file;
}

/**
 * Unpacks the browser once a version and user, into a folder that nobody else can have put there. The package would
 * unpack into the shared temporary folder, and take whatever lies there already.
 */
async function unpack(): Promise<string> {
  const packageRoot = dirname(dirname(fileURLToPath(import.meta.resolve("@sparticuz/chromium"))));
  const { version } = JSON.parse(readFileSync(join(packageRoot, "package.json"), "utf8")) as {
    version: string;
  };
  const uid = process.getuid?.() ?? 0;
  const home = join(tmpdir(), `drover-chromium-${version}-${uid}`);
  if (existsSync(home)) {
    if (statSync(home).uid !== uid) throw new Error(`${home} belongs to somebody else`);
    return home;
  }
  const work = mkdtempSync(`${home}-`);
  // It unpacks below TMPDIR, which must not change for this process and the tests beside this one.
  await promisify(execFile)(process.execPath, ["--input-type=module", "--eval", UNPACK, packageRoot], {
    env: { ...process.env, TMPDIR: work },
  });
  try {
    renameSync(work, home);
  } catch (error) {
    // Another test file was faster.
    rmSync(work, { recursive: true });
    if (!existsSync(home)) throw error;
  }
  return home;
}

const UNPACK = `
  const [root] = process.argv.slice(-1);
  const { inflate } = await import(root + "/build/index.js");
  const archives = ["chromium.br", "fonts.tar.br", "swiftshader.tar.br", "al2023.tar.br"];
  await Promise.all(archives.map((name) => inflate(root + "/bin/" + name)));
`;
