import { RolloutPage } from "../pages/rollout";
import { expect, test } from "../support/fixtures";
import { hakem, service } from "../support/service";

const ENFORCE = "Enforce: let the ledger decide";
const ROLL_BACK = "Roll back to the legacy balance";

// The demo's one tenant goes there and back: nobody else may flip it meanwhile.
test.describe.configure({ mode: "serial" });

test("a tenant is enforced and rolled back, each with its name typed", async ({ people }) => {
  const owner = await people.signedIn("owner", { fresh: true });
  const rollout = new RolloutPage(owner);
  await rollout.openFleet();
  await expect(owner.getByText(/The monitor (is alive|does not answer)/)).toBeVisible();
  await rollout.rows.filter({ hasText: "demo-drift" }).first().waitFor();
  await rollout.rows.getByRole("link", { name: "Demo", exact: true }).click();
  await expect(owner.getByRole("heading", { level: 1 })).toHaveText("Demo");
  await expect(rollout.arbiter).toContainText("Legacy balance");

  // The wrong name does nothing.
  await rollout.perform(ENFORCE, { reason: "gates were looked at", typed: "Demo with drift", waive: true });
  await expect(rollout.refusal).toContainText("The name that was typed is not the tenant's.");
  await expect(rollout.arbiter).toContainText("Legacy balance");

  await rollout.open(service().tenants.demo.id);
  await rollout.perform("Rehearse the way back", { reason: "before the first time" });
  await expect(owner.getByRole("status").filter({ hasText: "nobody was judged by it" })).toBeVisible();

  await rollout.perform(ENFORCE, { reason: "gates were looked at", typed: "Demo", waive: true });
  await expect(owner.getByRole("status").filter({ hasText: "The ledger decides now" })).toBeVisible();
  await expect(rollout.stage).toContainText("Enforced");
  await expect(rollout.arbiter).toContainText("Ledger");
  await expect(rollout.deed(ENFORCE)).toHaveCount(0);

  await rollout.perform(ROLL_BACK, { reason: "a real try", typed: "Demo" });
  await expect(owner.getByRole("status").filter({ hasText: "The legacy balance decides now" })).toBeVisible();
  await expect(rollout.arbiter).toContainText("Legacy balance");
  await expect(rollout.timeline.getByRole("listitem").filter({ hasText: "Rolled back" }).first()).toContainText("a real try");
  await expect(rollout.timeline.getByRole("listitem").filter({ hasText: "Enforced" }).first()).toContainText(
    "gates were looked at",
  );
});

test("a tenant whose wallets differ cannot be enforced, and its page says why", async ({ people }) => {
  const rollout = new RolloutPage(await people.signedIn("owner", { fresh: true }));
  await rollout.open(service().tenants["demo-drift"].id);
  await expect(rollout.deeds).toContainText("Not possible yet");
  await expect(rollout.gates.getByRole("row").filter({ hasText: "Coverage" })).toContainText("hakem backfill");
  await rollout.perform("Hold the tenant", { reason: "the drift is being looked into" });
  await expect(rollout.stage).toContainText("Held");
});

test("a viewer sees where the tenant stands, and no buttons", async ({ people }) => {
  const viewer = await people.signedIn("viewer");
  const rollout = new RolloutPage(viewer);
  await rollout.open(service().tenants.demo.id);
  await expect(rollout.gates).toBeVisible();
  await expect(rollout.deeds).toHaveCount(0);
  // All that is offered is to copy the id.
  await expect(viewer.getByRole("main").locator("button:not([data-copy])")).toHaveCount(0);
  const drift = await viewer.request.get(`/console/rollout/${service().tenants["demo-drift"].id}`);
  expect(drift.status()).toBe(404);
});

test("a dry run is started, and its counters come by themselves", async ({ people }) => {
  const owner = await people.signedIn("owner", { fresh: true });
  await owner.goto("/console/backfill");
  await owner.getByText("Start a backfill").click();
  await owner.getByLabel("Tenant", { exact: true }).selectOption({ label: "Demo with drift" });
  await owner.getByLabel("Kind").selectOption({ label: "Dry run" });
  await owner.getByRole("button", { name: "Start" }).click();
  await expect(owner.getByRole("status").filter({ hasText: "The dry run was asked for" })).toBeVisible();
  const run = owner.getByRole("region", { name: "Runs" }).getByRole("row").filter({ hasText: "Dry run" }).first();
  await expect(run).toContainText("Completed", { timeout: 20_000 });
  await run.getByText("Details").click();
  await expect(run).toContainText("Would be opened: 23 players");
});

test("a verdict is acknowledged, and everybody of the tenant sees by whom", async ({ people }) => {
  const owner = await people.signedIn("owner", { fresh: true });
  const drift = service().tenants["demo-drift"];
  const rollout = new RolloutPage(owner);
  await rollout.open(drift.id);
  // The planted drift is what the monitor warns of.
  const verdict = owner.getByRole("region", { name: "Verdicts and what to do" }).getByRole("listitem").filter({ hasText: "T3" }).first();
  // The monitor looks twice a minute, and the page refreshes itself.
  test.slow();
  await verdict.getByRole("link", { name: "Acknowledge" }).click({ timeout: 60_000 });
  await expect(owner.getByText("Not yet. Until somebody does")).toBeVisible();
  await owner.getByRole("textbox", { name: "Note" }).fill("the import of May, ticket 4711");
  // By the keyboard: from the note to the button, and on.
  await owner.keyboard.press("Tab");
  await owner.keyboard.press("Enter");
  await expect(owner.getByRole("status").filter({ hasText: "Your note is kept" })).toBeVisible();
  await expect(owner.getByRole("region", { name: "Who took note" })).toContainText("the import of May, ticket 4711");
  const viewer = await people.signedIn("viewer", { tenant: drift });
  for (const path of ["/console/rollout", `/console/rollout/${drift.id}`]) {
    await viewer.goto(path);
    const { email } = service().tenants.demo.people.owner;
    await expect(viewer.getByText(`acknowledged by ${email}`).first()).toBeVisible();
    await expect(viewer.getByRole("link", { name: "Acknowledge" })).toHaveCount(0);
  }
});

test("what holds the fleet is lifted once, and whoever is late is told by whom", async ({ people }) => {
  hakem("rollout", "hold", "--fleet", "--reason", "two tenants went back within an hour");
  const [first, second] = [await people.signedIn("owner", { fresh: true }), await people.signedIn("owner", { fresh: true })];
  for (const page of [first, second]) {
    await page.goto("/console/rollout");
    await expect(page.getByText("two tenants went back within an hour")).toBeVisible();
    // The monitor may have frozen it as well.
    const hold = page.locator(".fleet-hold").filter({ hasText: "two tenants went back within an hour" });
    await hold.getByRole("link", { name: "Lift this hold" }).click();
    await page.getByLabel("Reason").fill("its cause is known");
  }
  await first.getByRole("button", { name: "Lift this hold" }).click();
  await expect(first.getByRole("status").filter({ hasText: "The hold is lifted" })).toBeVisible();
  await expect(first.getByText("two tenants went back within an hour")).toHaveCount(0);
  await second.getByRole("button", { name: "Lift this hold" }).click();
  await expect(new RolloutPage(second).refusal).toContainText("This hold is over already.");
  await expect(second.getByRole("region", { name: "Why it is held" })).toContainText("its cause is known");
});
