import { readFileSync } from "node:fs";

import { AuditPage } from "../pages/audit";
import { WithdrawalPage } from "../pages/withdrawals";
import { withdrawal } from "../support/api";
import { expect, test } from "../support/fixtures";
import { service } from "../support/service";

test("what was done to a withdrawal is found by its id, with why, and leads back to it", async ({ people }) => {
  const { id } = await withdrawal("65.00");
  const page = await people.signedIn("finance");
  const desk = new WithdrawalPage(page);
  await desk.open(id);
  await desk.perform("Reject", { reason: "not their account" });
  await desk.expectState("Rejected");

  const audit = new AuditPage(page);
  await audit.open();
  await audit.filter({ "Id of the object": id });
  const deed = audit.deeds("not their account");
  await expect(deed).toHaveCount(1);
  await expect(deed).toContainText(service().tenants.demo.people.finance.email);
  await expect(deed).toContainText("127.0.0.1");
  await expect(deed).toContainText(/State\s+before: Needs review\s*→\s*after: Rejected/);
  await expect(page).toHaveURL(new RegExp(`object_id=${id}`));
  await deed.getByRole("link").last().click();
  await desk.expectState("Rejected");
});

test("deeds are narrowed by day, person and action, page by page", async ({ people }) => {
  const page = await people.signedIn("viewer");
  const audit = new AuditPage(page);
  await audit.open();
  await audit.filter({ "From day": "2020-01-01", "To day": "2020-01-02" });
  await expect(page.getByText("None matches the filter.")).toBeVisible();
  await page.getByRole("link", { name: "Show all" }).click();
  await expect(audit.deeds(/UTC|Withdrawal/).first()).toBeVisible();

  await page.getByLabel("Deed", { exact: true }).selectOption("withdrawal.approved");
  await page.getByRole("button", { name: "Apply" }).click();
  const first = await page.locator("tbody tr").first().textContent();
  await page.getByRole("link", { name: "Next page" }).click();
  await expect(page).toHaveURL(/action=withdrawal.approved&before=/);
  await expect(page.locator("tbody tr").first()).not.toHaveText(first ?? "");
  await expect(page.locator("tbody tr").filter({ hasText: "Approved" })).toHaveCount(await page.locator("tbody tr").count());
  await page.getByRole("link", { name: "First page" }).click();
  await expect(page.locator("tbody tr").first()).toHaveText(first ?? "");
});

test("the file has what is shown, and that it was taken", async ({ people }) => {
  const { id } = await withdrawal("66.00");
  const page = await people.signedIn("finance");
  const desk = new WithdrawalPage(page);
  await desk.open(id);
  await desk.perform("Reject", { reason: "=1+1" });
  const audit = new AuditPage(page);
  await audit.open(`?object_id=${id}`);
  const [download] = await Promise.all([
    page.waitForEvent("download"),
    page.getByRole("link", { name: "CSV" }).click(),
  ]);
  expect(download.suggestedFilename()).toMatch(/^audit-.*\.csv$/);
  const [header, ...lines] = readFileSync(await download.path(), "utf-8").trimEnd().split(/\r?\n/);
  expect(header).toContain("client_address");
  expect(lines).toHaveLength(1);
  expect(lines[0]).toContain("'=1+1");
  await audit.open("?action=audit.exported");
  await expect(audit.deeds(id).first()).toContainText("Exported as CSV");
});
