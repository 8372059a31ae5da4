// What the browser tests share: a browser, a signed-in page that remembers its console errors, axe, screenshots.
import assert from "node:assert/strict";
import { mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { chromium } from "playwright-core";

const need = (name) => {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set: the browser tests need DASHBOARD_URL, DASHBOARD_USER and DASHBOARD_PASSWORD of a running backend`);
  return value;
};
export const url = need("DASHBOARD_URL").replace(/\/$/, "");
const user = need("DASHBOARD_USER");
const password = need("DASHBOARD_PASSWORD");
const shots = process.env.SCREENSHOT_DIR;
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

/** Longer than any state needs to come; a wait ends as soon as the state is there. */
export const PATIENCE_MS = 20_000;
export const desktop = { width: 1440, height: 900 };
export const phone = { width: 390, height: 844 };

export const launch = () =>
  chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"],
  });

/** A page in a context of its own. `errors` collects console errors, except the first question for a session, which is 401 by contract. */
export async function openPage(browser, { viewport = desktop, colorScheme = "light" } = {}) {
  const context = await browser.newContext({ viewport, colorScheme, locale: "en-GB", timezoneId: "Europe/Berlin" });
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE_MS);
  const errors = [];
  page.on("pageerror", (error) => errors.push(String(error)));
  page.on("console", (message) => {
    const asksForSession = message.location().url.endsWith("/api/v1/session") && message.text().includes("401");
    if (message.type() === "error" && !asksForSession) errors.push(`${message.text()} ${message.location().url}`);
  });
  return { context, page, errors };
}

export async function fillSignIn(page, secret = password) {
  await page.getByLabel("User name").fill(user);
  await page.getByLabel("Password", { exact: true }).fill(secret);
  await page.getByRole("button", { name: "Sign in" }).click();
}

export async function signedIn(browser, options) {
  const opened = await openPage(browser, options);
  await opened.page.goto(url);
  await fillSignIn(opened.page);
  await opened.page.getByRole("navigation", { name: "Pages" }).waitFor({ state: "attached" });
  return opened;
}

/** Fails on every serious or critical finding, and names the elements. */
export async function checkAccessibility(page, where) {
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ["violations"] }));
  const grave = violations.filter((each) => ["serious", "critical"].includes(each.impact));
  const report = grave.map((each) => `${each.id}: ${each.nodes.map((node) => `${node.target} (${node.failureSummary})`).join("; ")}`);
  assert.deepEqual(report, [], `accessibility of ${where}`);
  assert.equal(await page.locator("h1").count(), 1, `${where} has one h1`);
}

export async function checkNoSidewaysScroll(page, where) {
  const { content, window } = await page.evaluate(() => ({ content: document.documentElement.scrollWidth, window: innerWidth }));
  assert.ok(content <= window, `${where} is ${content} px wide in a window of ${window} px`);
}

export async function shot(page, name) {
  if (!shots) return;
  mkdirSync(shots, { recursive: true });
  await page.screenshot({ path: join(shots, `${name}.png`), fullPage: name.includes("full") });
}
