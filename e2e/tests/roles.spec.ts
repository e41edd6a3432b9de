import { Frame } from "../pages/frame";
import { WithdrawalPage } from "../pages/withdrawals";
import { withdrawal } from "../support/api";
import { expect, test } from "../support/fixtures";
import { service } from "../support/service";

for (const role of ["viewer", "recon"]) {
  test(`a ${role} sees less, and can do no more by a request of their own making`, async ({ people }) => {
    const { id } = await withdrawal("45.00");
    const page = await people.signedIn(role);
    await page.goto("/console");
    const frame = new Frame(page);
    await expect(frame.entry("Players")).toBeVisible();
    await expect(frame.entry("Withdrawals")).toHaveCount(0);
    for (const path of ["withdrawals", `withdrawals/${id}`, "withdrawals.csv"]) {
      expect((await page.request.get(`/console/${path}`)).status(), path).toBe(403);
    }

    // The form that this person's page does not have, with everything that a good one carries.
    const proof = await page.locator('form[action="/console/sign-out"] input[type="hidden"]').evaluate((input) => {
      const { name, value } = input as HTMLInputElement;
      return { [name]: value };
    });
    const answer = await page.request.post(`/console/withdrawals/${id}/deed`, {
      form: { ...proof, action: "approve", version: "1", key: crypto.randomUUID() },
      headers: { Origin: service().url },
    });
    expect(answer.status()).toBe(403);
    const desk = new WithdrawalPage(await people.signedIn("finance"));
    await desk.open(id);
    await desk.expectState("Needs review");
  });
}

test("a deed without the form's proof, or with somebody else's, is refused", async ({ people }) => {
  const { id } = await withdrawal("45.00");
  const page = await people.signedIn("finance");
  const other = await people.signedIn("approver");
  await other.goto("/console");
  const foreign = await other.locator('form[action="/console/sign-out"] input[type="hidden"]').evaluate((input) => {
    const { name, value } = input as HTMLInputElement;
    return { [name]: value };
  });
  for (const proof of [{}, foreign]) {
    const answer = await page.request.post(`/console/withdrawals/${id}/deed`, {
      form: { ...proof, action: "approve", version: "1", key: crypto.randomUUID() },
      headers: { Origin: service().url },
    });
    expect(answer.status()).toBe(403);
  }
  const desk = new WithdrawalPage(page);
  await desk.open(id);
  await desk.expectState("Needs review");
});

test("another tenant's withdrawal is not there", async ({ people }) => {
  const { player, id } = await withdrawal("45.00");
  const page = await people.signedIn("finance", { tenant: service().tenants["demo-drift"] });
  for (const path of [`withdrawals/${id}`, `players/${player.id}`]) {
    expect((await page.goto(`/console/${path}`))?.status(), path).toBe(404);
  }
});

test("an owner chooses the tenant in view", async ({ people }) => {
  const page = await people.signedIn("owner", { fresh: true });
  await page.goto("/console/tenant");
  await page.getByRole("button", { name: /Demo with drift/ }).click();
  await page.goto("/console/players");
  await expect(page.getByRole("row").filter({ hasText: "@demo-drift.example" }).first()).toBeVisible();
  await expect(page.getByRole("row").filter({ hasText: "@demo.example" })).toHaveCount(0);
});
