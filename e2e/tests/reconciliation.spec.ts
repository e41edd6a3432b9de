import { FindingPage, FindingsPage } from "../pages/reconciliation";
import { Caller } from "../support/api";
import { expect, test } from "../support/fixtures";
import { service } from "../support/service";

// The demo plants differences here, open and resolved ones.
const drift = () => service().tenants["demo-drift"];

/** An open finding of the demo, by its type. */
async function openFinding(type: string): Promise<string> {
  const api = await Caller.admin("recon", drift());
  const answer = await api.get(`/payments/reconciliation/findings?status=OPEN&finding_type=${type}&limit=1`);
  const { items } = await answer.json();
  expect(items, `the demo has an open ${type}`).toHaveLength(1);
  return items[0].id;
}

test("a finding shows both sides, is resolved with a note, leaves the list, and is opened again", async ({ people }) => {
  const id = await openFinding("amount_mismatch");
  const page = await people.signedIn("recon", { tenant: drift() });
  const list = new FindingsPage(page);
  await list.open();
  await list.linkTo(id).click();

  const finding = new FindingPage(page);
  await finding.expectStatus("Open");
  const amount = finding.sides.getByRole("row").filter({ hasText: "Amount" });
  await expect(amount).toContainText("Differs:");
  await expect(amount).toContainText("EUR");
  const note = "The bank kept <b>one cent</b>";
  await finding.perform("Resolve", "Resolve it", { "How it ended": "Accepted as it is", Note: note });
  await expect(page.getByText("Done. The finding is resolved.")).toBeVisible();
  await finding.expectStatus("Resolved");
  await expect(finding.history).toContainText(note);

  await list.open();
  await expect(list.board).toBeVisible();
  await expect(list.linkTo(id)).toHaveCount(0);
  await list.open("?status=RESOLVED");
  await expect(list.linkTo(id)).toBeVisible();

  await finding.open(id);
  await finding.perform("Open again", "Open it again", { Reason: "The bank sent it after all" });
  await finding.expectStatus("Open");
  await list.open();
  await expect(list.linkTo(id)).toBeVisible();
});

test("who acts on a finding that somebody changed is shown how it is now", async ({ people }) => {
  const id = await openFinding("orphan_webhook");
  const slow = new FindingPage(await people.signedIn("recon", { tenant: drift() }));
  const quick = new FindingPage(await people.signedIn("finance", { tenant: drift() }));
  await slow.open(id);
  await quick.open(id);
  await quick.perform("Assign", "Assign it");
  await expect(quick.page.getByText("Somebody looks after the finding.")).toBeVisible();

  await slow.perform("Resolve", "Resolve it", { "How it ended": "Something else", Note: "Nobody looks" });
  await expect(slow.refusal.filter({ hasText: "Nothing was done." })).toContainText(drift().people.finance.email);
  await slow.expectStatus("Open");
  await slow.perform("Assign", "Assign it", { "Looked after by": "Nobody" });
});

test("a run is started, refreshes itself, and says what both sides claimed", async ({ people }) => {
  const page = await people.signedIn("recon", { tenant: drift() });
  await page.goto("/console/reconciliation/runs");
  await page.getByLabel("Only try: write no finding").check();
  await page.getByRole("button", { name: "Start" }).click();
  await expect(page.locator("#state")).toHaveText(/Completed$/, { timeout: 30_000 });
  const totals = page.getByRole("region", { name: "Control totals" });
  await expect(totals).toContainText("Lines");
  await expect(totals).toContainText("equal");
});
