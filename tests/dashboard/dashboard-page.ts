import { mkdir, readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Browser, BrowserContext, Page } from "playwright-core";

const folder = fileURLToPath(new URL("../../screenshots", import.meta.url));
const axeFile = createRequire(import.meta.url).resolve("axe-core/axe.min.js");

/** Sizes that the dashboard is looked at in, in CSS pixels. */
export const sizes = {
  desktop: { width: 1440, height: 900 },
  mobile: { width: 360, height: 740 },
  wall: { width: 3840, height: 2160 },
} as const;

export interface DashboardPage {
  readonly page: Page;
  readonly context: BrowserContext;
  /** Everything that the browser complained of so far. */
  readonly complaints: string[];
  close(): Promise<void>;
}

/** Opens a tab of its own, signed in where a token is given. */
export async function openDashboard(
  browser: Browser,
  url: string,
  options: { token?: string; theme?: "light" | "dark"; size?: keyof typeof sizes } = {},
): Promise<DashboardPage> {
  const context = await browser.newContext({
    colorScheme: options.theme ?? "light",
    viewport: sizes[options.size ?? "desktop"],
    reducedMotion: "reduce",
    // Without a locale of its own, the browser of a machine that has none names one that is no language tag.
    locale: "en-US",
  });
  const { token } = options;
  if (token !== undefined) {
    await context.addInitScript((text) => {
      if (sessionStorage.getItem("drover.session") === null) sessionStorage.setItem("drover.session", text);
    }, token);
  }
  const page = await context.newPage();
  const complaints: string[] = [];
  page.on("console", (message) => {
    if (message.type() === "error" || message.type() === "warning") complaints.push(message.text());
  });
  page.on("pageerror", (error) => complaints.push(String(error.stack)));
  await page.goto(url);
  return { page, context, complaints, close: () => context.close() };
}

/** Saves what is on the screen, for people to look at. */
export async function shoot(page: Page, name: string): Promise<void> {
  await mkdir(folder, { recursive: true });
  await page.screenshot({ path: join(folder, `${name}.png`) });
}

/** What axe finds wrong with the page, by rule and place; `colours` looks at contrast alone. */
export async function findBarriers(page: Page, colours = false): Promise<string[]> {
  // Evaluated from outside, which the page's policy does not forbid; a tab keeps it.
  if (!(await page.evaluate(() => "axe" in globalThis))) await page.evaluate(await readFile(axeFile, "utf8"));
  return await page.evaluate(async (only) => {
    // Put there by the script above.
    const { axe } = globalThis as unknown as { axe: typeof import("axe-core") };
    const { violations } = await axe.run(document, {
      runOnly: only
        ? ["color-contrast"]
        : ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
    });
    return violations.flatMap(({ id, nodes }) =>
      nodes.map(({ target, failureSummary }) => `${id}: ${target.join(" ")}: ${failureSummary}`),
    );
  }, colours);
}

/** What runs out of its place to the right at these widths of the window, besides what is cut off or scrolls on purpose. */
export async function findOverflow(page: Page, widths: readonly number[]): Promise<string[]> {
  const { width: usual = 0, height = 0 } = page.viewportSize() ?? {};
  const found: string[] = [];
  for (const width of widths) {
    if (width !== usual) await page.setViewportSize({ width, height });
    found.push(
      ...(await page.evaluate(async () => {
        // Observers of sizes have had their turn by the second frame.
        for (let i = 0; i < 2; i++) await new Promise((resolve) => requestAnimationFrame(resolve));
        const wide = [...document.querySelectorAll("main, main *, nav *")].filter((element) => {
          const { overflowX, display } = getComputedStyle(element);
          const mayRunOut = overflowX === "visible" || element.matches("main");
          // An inline element has no width of its own.
          const isBox = display !== "inline" && element.clientWidth > 0;
          const isAside = element.closest(".uplot, .off-screen") !== null;
          return mayRunOut && isBox && !isAside && element.scrollWidth > element.clientWidth + 1;
        });
        return wide.map(
          ({ tagName, className, scrollWidth, clientWidth }) =>
            `${innerWidth}: ${tagName} ${className} ${scrollWidth} > ${clientWidth}`,
        );
      })),
    );
  }
  if (widths.length > 0) await page.setViewportSize({ width: usual, height });
  return found;
}
