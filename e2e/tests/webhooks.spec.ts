import { WebhookPage, WebhooksPage } from "../pages/webhooks";
import { expect, test } from "../support/fixtures";
import { service } from "../support/service";

const drift = () => service().tenants["demo-drift"];

test("deliveries are listed, one is read, and processed again", async ({ people }) => {
  const page = await people.signedIn("recon", { tenant: drift() });
  const list = new WebhooksPage(page);
  await list.open("?type=deposit.captured&state=applied&verdict=valid");
  await list.rows.getByRole("link", { name: "deposit.captured" }).first().click();

  const delivery = new WebhookPage(page);
  await expect(page.getByRole("heading", { level: 1, name: "deposit.captured" })).toBeVisible();
  await expect(delivery.state).toHaveText(/Applied$/);
  expect(JSON.parse((await delivery.body.textContent()) ?? "").type).toBe("deposit.captured");
  await expect(delivery.headers).toContainText("webhook-signature");

  await delivery.perform("Reprocess");
  await expect(page.getByText("The delivery is due again")).toBeVisible();
  // The page refreshes itself until it is done; twice has one effect.
  await expect(delivery.state).toHaveText(/Applied$/, { timeout: 20_000 });
  await expect(delivery.outcome).toContainText("Nothing new");
  await expect(delivery.outcome).toContainText("Made due again");
});

test("what nobody could read waits in its queue and says why", async ({ people }) => {
  const page = await people.signedIn("recon", { tenant: drift() });
  const list = new WebhooksPage(page);
  await list.open();
  await list.queue("Not readable").click();
  await list.rows.getByRole("link", { name: "Not read yet" }).first().click();
  const delivery = new WebhookPage(page);
  await expect(delivery.state).toHaveText(/Not readable$/);
  await expect(delivery.outcome).toContainText("Last error");
  await expect(delivery.body).toContainText("seventy-five");
});

test("who may not work on payments sees no webhooks", async ({ people }) => {
  const page = await people.signedIn("viewer", { tenant: drift() });
  for (const path of ["webhooks", "reconciliation", "adjustments"]) {
    expect((await page.goto(`/console/${path}`))?.status(), path).toBe(403);
  }
});
