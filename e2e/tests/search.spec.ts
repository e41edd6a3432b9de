import type { Page } from "@playwright/test";

import { Caller } from "../support/api";
import { expect, test } from "../support/fixtures";
import { service } from "../support/service";

/** What a list of the API has first. */
async function first(path: string): Promise<Record<string, string>> {
  const { items } = await (await (await Caller.admin("finance")).get(`${path}${path.includes("?") ? "&" : "?"}limit=1`)).json();
  return items[0];
}

/** Type it into the search of the page, as one does: a slash, the text, enter. */
async function search(page: Page, text: string): Promise<void> {
  await page.goto("/console");
  await page.keyboard.press("/");
  await page.keyboard.type(text);
  await page.keyboard.press("Enter");
}

test("ids and references lead to what they name", async ({ people }) => {
  const finance = await people.signedIn("finance");
  const paid = await first("/finance/withdrawals?state=paid");
  const finding = await first("/payments/reconciliation/findings");
  const run = await first("/payments/reconciliation/runs");
  const event = await first("/payments/events");
  for (const [text, place] of [
    [`wd_${paid.tx_id}_1`, `withdrawals/${paid.tx_id}#attempt-1`],
    [finding.id, `reconciliation/findings/${finding.id}`],
    [run.id, `reconciliation/runs/${run.id}`],
    [event.id, `webhooks/${event.id}`],
  ]) {
    await search(finance, text);
    await expect(finance).toHaveURL(`/console/${place}`);
  }
  await finance.goto(`/console/withdrawals/${paid.tx_id}`);
  await search(finance, "nobody is called so");
  await expect(finance.getByText("No players")).toBeVisible();
});

test("what a role does not see, and another tenant's, is not found", async ({ people }) => {
  const event = await first("/payments/events");
  const finding = await first("/payments/reconciliation/findings");
  const viewer = await people.signedIn("viewer");
  const stranger = await people.signedIn("finance", { tenant: service().tenants["demo-drift"] });
  for (const page of [viewer, stranger]) {
    for (const { id } of [event, finding]) {
      await search(page, id);
      await expect(page).toHaveURL(`/console/players?q=${id}`);
    }
  }
});
