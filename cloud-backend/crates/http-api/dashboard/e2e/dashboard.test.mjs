// Browser tests against a running backend with live machines. No waiting for time: every wait ends with the state it waits for.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { checkAccessibility, checkNoSidewaysScroll, desktop, fillSignIn, launch, openPage, phone, shot, signedIn, url } from "./support.mjs";

let browser;
before(async () => (browser = await launch()));
after(() => browser.close());

const tiles = (page) => page.locator("[data-machine]");
/** Fifteen machines and the gateway itself. */
const isComplete = async (page) => {
  assert.equal(await tiles(page).count(), 16);
  assert.equal(await page.locator('[data-machine="gateway"]').count(), 1);
};
const openFleet = async (page) => {
  await tiles(page).first().waitFor();
  await page.locator('[data-connection="live"]').waitFor();
};
const openFirstLiveMachine = async (page) => {
  await page.locator('[data-machine][data-heard="true"]').first().click();
  await page.locator("[data-newest]").waitFor();
};
const openPageByName = async (page, name) => {
  const menu = page.getByRole("button", { name: "Menu" });
  if (await menu.isVisible()) await menu.click();
  await page.getByRole("navigation", { name: "Pages" }).getByRole("link", { name: new RegExp(`^${name}`) }).click();
  await page.getByRole("heading", { level: 1, name }).waitFor();
};

test("a wrong password is refused in words, and the right one then opens the fleet", async () => {
  const { page, context, errors } = await openPage(browser);
  await page.goto(url);
  await fillSignIn(page, "certainly-not-the-password");
  await page.getByRole("alert").filter({ hasText: "User name or password is wrong" }).waitFor();
  await checkAccessibility(page, "sign-in");
  await shot(page, "sign-in-light");
  await fillSignIn(page);
  await openFleet(page);
  assert.deepEqual(errors, []);
  await context.close();
});

test("the fleet shows fifteen machines with values that move", async () => {
  const { page, context, errors } = await signedIn(browser);
  await openFleet(page);
  await isComplete(page);
  const read = () => page.locator("[data-value]").allTextContents();
  const before = await read();
  await page.waitForFunction((old) => {
    const now = [...document.querySelectorAll("[data-value]")].map((each) => each.textContent);
    return now.filter((text, index) => text !== old[index]).length >= 10;
  }, before);
  assert.deepEqual(errors, []);
  await context.close();
});

test("a tile without data shows no number", async () => {
  const { page, context } = await signedIn(browser);
  await openFleet(page);
  const silent = page.locator('[data-machine][data-heard="false"]');
  for (const tile of await silent.all()) {
    const shown = await tile.locator("[data-value]").allTextContents();
    assert.ok(shown.every((text) => text === "–"), `a silent tile shows ${shown}`);
  }
  await context.close();
});

test("the trend of a machine gets new points", async () => {
  const { page, context, errors } = await signedIn(browser);
  await openFleet(page);
  await openFirstLiveMachine(page);
  const newest = Number(await page.locator("[data-newest]").getAttribute("data-newest"));
  await page.waitForFunction((old) => Number(document.querySelector("[data-newest]")?.dataset.newest) >= old + 2_000, newest);
  const box = await page.locator("canvas").first().boundingBox();
  assert.ok(box.width > 600 && box.height > 150, `the chart is ${box.width} x ${box.height}`);
  assert.deepEqual(errors, []);
  await context.close();
});

test("a chosen tag and range stay in the address over a reload", async () => {
  const { page, context, errors } = await signedIn(browser);
  await openFleet(page);
  await openFirstLiveMachine(page);
  const name = await page.locator("h1").textContent();
  const chip = page.getByRole("group", { name: /Tags in the trend/ }).getByRole("checkbox", { checked: false }).first();
  const tag = await chip.getAttribute("value");
  await chip.focus();
  await page.keyboard.press("Space");
  await page.getByText("15 min", { exact: true }).click();
  await page.waitForURL((address) => address.search.includes("range=15m"));
  await page.reload();
  await page.getByRole("heading", { level: 1, name, exact: true }).waitFor();
  await page.locator("[data-newest]").waitFor();
  assert.ok(await page.getByRole("radio", { name: "15 min" }).isChecked());
  assert.ok(await page.locator(`input[value="${tag}"]`).isChecked());
  assert.deepEqual(errors, []);
  await context.close();
});

test("active alarms and the journal open, and the journal is newest first", async () => {
  const { page, context, errors } = await signedIn(browser);
  await openFleet(page);
  await openPageByName(page, "Alarms");
  await page.locator("table, p.panel").first().waitFor();
  await page.getByText("Journal", { exact: true }).click();
  await page.waitForURL(/view=journal/);
  await page.locator('[aria-label="Journal"] table, p.panel').first().waitFor();
  const instants = await page.locator("tbody td:first-child time").evaluateAll((all) => all.map((each) => each.dateTime));
  assert.deepEqual(instants, [...instants].sort().reverse());
  assert.deepEqual(errors, []);
  await context.close();
});

test("an alarm is shelved and unshelved by keyboard, and the gateway's answer is shown", async () => {
  const { page, context, errors } = await signedIn(browser);
  await openFleet(page);
  await openFirstLiveMachine(page);
  // Whichever is normal: its first command is to shelve it.
  const rows = page.locator('[aria-label="Alarms"] tbody tr');
  const first = rows.getByRole("button", { name: /^Shelve: / }).first();
  const alarm = (await first.getAttribute("aria-label")).replace("Shelve: ", "");
  const button = (command) => page.getByRole("button", { name: `${command}: ${alarm}`, exact: true });
  const open = async (command) => {
    await button(command).focus();
    await page.keyboard.press("Enter");
    await page.getByRole("dialog").waitFor();
  };
  await open("Shelve");
  await page.keyboard.press("Escape");
  await page.getByRole("dialog").waitFor({ state: "detached" });
  await open("Shelve");
  const dialog = page.getByRole("dialog");
  const submit = dialog.getByRole("button", { name: "Shelve", exact: true });
  await submit.click();
  assert.equal(await dialog.getByRole("status").textContent(), "", "without a reason nothing is sent");
  await dialog.getByLabel("Why").fill("sensor is being changed");
  await submit.focus();
  await page.keyboard.press("Enter");
  await dialog.getByText("Done. The gateway has carried it out.").waitFor();
  await page.keyboard.press("Enter");
  await rows.filter({ has: button("Unshelve") }).getByText("Shelved").waitFor();
  await open("Unshelve");
  await dialog.getByRole("button", { name: "Unshelve", exact: true }).click();
  await dialog.getByText("Done. The gateway has carried it out.").waitFor();
  await dialog.getByRole("button", { name: "Close" }).click();
  await button("Unshelve").waitFor({ state: "detached" });
  assert.deepEqual(errors, []);
  await context.close();
});

test("who may not operate alarms sees no commands", async () => {
  const { page, context } = await openPage(browser);
  await page.route("**/api/v1/session", async (route) => {
    const answer = await route.fetch();
    if (!answer.ok() || answer.status() === 204) return route.fulfill({ response: answer });
    return route.fulfill({ response: answer, json: { ...(await answer.json()), permissions: [] } });
  });
  await page.goto(url);
  await fillSignIn(page);
  await openFleet(page);
  await openFirstLiveMachine(page);
  await page.locator('[aria-label="Alarms"] tbody tr').first().waitFor();
  assert.equal(await page.getByRole("button", { name: /^(Shelve|Acknowledge)/ }).count(), 0);
  await context.close();
});

test("the delivery ledger balances", async () => {
  const { page, context, errors } = await signedIn(browser);
  await openFleet(page);
  await openPageByName(page, "Data");
  await page.getByText("Balances").first().waitFor();
  assert.equal(await page.getByText(/unexplained/).count(), 0);
  assert.deepEqual(errors, []);
  await context.close();
});

test("another tenant is one choice away, for those who may see several", async (context_) => {
  const { page, context, errors } = await signedIn(browser);
  await openFleet(page);
  const choice = page.getByLabel("Tenant");
  if (!(await choice.isVisible())) {
    await context.close();
    return context_.skip("this user sees one tenant");
  }
  const other = await choice.locator("option").nth(1).getAttribute("value");
  await choice.selectOption(other);
  await page.waitForURL(`${url}/${other}`);
  await openFleet(page);
  await isComplete(page);
  assert.deepEqual(errors, []);
  await context.close();
});

test("losing the network is said, and its return too", async () => {
  const { page, context } = await signedIn(browser);
  await openFleet(page);
  await context.setOffline(true);
  await page.getByText(/^No live data since \d\d:\d\d:\d\d, reconnecting$/).waitFor();
  await shot(page, "offline-light");
  await context.setOffline(false);
  await page.locator('[data-connection="live"]').waitFor();
  assert.equal(await page.getByText(/No live data since/).count(), 0);
  await context.close();
});

test("a session that ends leads to the sign-in form, and from there back to the same page", async () => {
  const { page, context } = await signedIn(browser);
  await openFleet(page);
  await openPageByName(page, "Data");
  await context.clearCookies();
  await page.getByText("Your session has ended").waitFor();
  await fillSignIn(page);
  await page.getByRole("heading", { level: 1, name: "Data" }).waitFor();
  await context.close();
});

test("an address that does not exist says so", async () => {
  const { page, context } = await openPage(browser);
  await page.goto(`${url}/no-such-tenant/alarms`);
  await fillSignIn(page);
  await page.getByRole("heading", { level: 1, name: /nothing at this address/ }).waitFor();
  await context.close();
});

for (const colorScheme of ["light", "dark"]) {
  for (const [size, viewport] of Object.entries({ desktop, phone, narrow: { width: 360, height: 740 } })) {
    test(`every page is accessible and fits: ${colorScheme}, ${size}`, async () => {
      const { page, context, errors } = await signedIn(browser, { colorScheme, viewport });
      const inspect = async (name) => {
        await checkNoSidewaysScroll(page, name);
        await checkAccessibility(page, `${name} (${colorScheme}, ${size})`);
        await shot(page, `${name}-${colorScheme}-${size}`);
        await shot(page, `full-${name}-${colorScheme}-${size}`);
      };
      await openFleet(page);
      await inspect("fleet");
      await openFirstLiveMachine(page);
      await inspect("machine");
      await page.locator('[aria-label="Alarms"] tbody tr button').last().click();
      await page.getByRole("dialog").waitFor();
      await inspect("command");
      await page.getByRole("button", { name: "Cancel" }).click();
      await openPageByName(page, "Alarms");
      await page.locator("table, p.panel").first().waitFor();
      await inspect("alarms");
      await page.getByText("Hidden", { exact: true }).click();
      await page.locator('[aria-label="Hidden"] table, p.panel').first().waitFor();
      await inspect("hidden");
      await page.getByText("Journal", { exact: true }).click();
      await page.locator('[aria-label="Journal"] table, p.panel').first().waitFor();
      await inspect("journal");
      await openPageByName(page, "Data");
      await page.getByText("Balances").first().waitFor();
      await inspect("data");
      assert.deepEqual(errors, []);
      await context.close();
    });
  }
}
