import { Frame } from "../pages/frame";
import { Caller, Player, withdrawal } from "../support/api";
import { expect, test } from "../support/fixtures";
import { service } from "../support/service";

test("a player is searched for; statement, balances and explanation agree", async ({ people }) => {
  const { player } = await withdrawal("25.00", { paidIn: "100.00" });
  const page = await people.signedIn("viewer");
  await page.goto("/console");
  await new Frame(page).search.fill(player.email);
  await page.keyboard.press("Enter");
  // Where one player only is meant, the search may lead straight to them.
  const row = page.getByRole("link", { name: player.username });
  const title = page.getByRole("heading", { level: 1, name: player.username });
  await expect(row.or(title).first()).toBeVisible();
  if (!(await title.isVisible())) await row.click();
  await expect(title).toBeVisible();

  const balances = page.getByRole("region", { name: "Both balances" });
  await expect(balances).toContainText("75.00");
  await expect(balances).toContainText("25.00");
  await expect(page.getByRole("region", { name: "Statement" }).getByRole("row")).toHaveCount(1 + 2);
  await page.getByRole("link", { name: "Explain this balance" }).click();
  await expect(page.getByText("The transactions come to the balance, to the last unit.")).toBeVisible();
});

test("the id of a page is copied by its button", async ({ people }) => {
  const player = await Player.create();
  const page = await people.signedIn("viewer");
  await page.context().grantPermissions(["clipboard-read", "clipboard-write"]);
  await page.goto(`/console/players/${player.id}`);
  await page.getByRole("button", { name: "Copy the id" }).click();
  await expect(page.getByRole("status").filter({ hasText: "Copied" })).toBeAttached();
  expect(await page.evaluate(() => navigator.clipboard.readText())).toBe(player.id);
});

test("where both sides differ it is said in words", async ({ people }) => {
  const tenant = service().tenants["demo-drift"];
  const page = await people.signedIn("recon", { tenant });
  const api = await Caller.admin("recon", tenant);
  const players = (await (await api.get("/players?limit=200")).json()).items as Record<string, string>[];
  const drifted = players.filter((each) => each.balance_real_available !== undefined);
  expect(drifted.length).toBeGreaterThan(0);
  await page.goto("/console/players?q=");
  // Who was imported last has no wallet yet.
  await expect(page.getByText("Wallet not opened").first()).toBeVisible();
});

test("what a player is called is shown as text", async ({ people }) => {
  const username = `<img src=x onerror="document.title='taken over'">`;
  const player = await Player.create({ username });
  const page = await people.signedIn("viewer");
  await page.goto(`/console/players/${player.id}`);
  await expect(page.getByRole("heading", { level: 1 })).toHaveText(username);
  expect(await page.title()).not.toBe("taken over");
  await expect(page.locator("img[src=x]")).toHaveCount(0);
});
