import { SignInPage } from "../pages/sign-in";
import { WithdrawalPage, WithdrawalsPage } from "../pages/withdrawals";
import { Caller, Player } from "../support/api";
import { expect, test } from "../support/fixtures";
import { service } from "../support/service";

// The smoke test that the runbook names: one withdrawal from the player's request to paid, at the console.
test("a withdrawal is approved, paid, and not approved twice", async ({ people }) => {
  const page = await people.stranger();
  await new SignInPage(page).signIn(service().tenants.demo.people.finance);

  const player = await Player.create();
  await player.deposit("50.00");
  const id = await player.withdraw("20.00");
  expect(await player.balance()).toEqual(["30.00", "20.00"]);

  const list = new WithdrawalsPage(page);
  await page.getByRole("navigation", { name: "Main navigation" }).getByRole("link", { name: "Withdrawals" }).click();
  await list.queue("Needs review").click();
  // The longest waiting comes first there; ours is the last.
  await list.open("?state=requested&sort=-created_at");
  await list.rowOf(player.email).getByRole("link").click();

  const withdrawal = new WithdrawalPage(page);
  await expect(page).toHaveURL(new RegExp(`/console/withdrawals/${id}$`));
  await withdrawal.expectState("Needs review");
  await withdrawal.perform("Approve");
  await withdrawal.expectState("Approved");
  await withdrawal.perform("Pay");
  await withdrawal.expectState("Paid");

  const finance = await Caller.admin("finance");
  const again = await finance.post(`/finance/withdrawals/${id}/review`, { action: "approve" });
  expect(again.status()).toBe(409);
  expect(await again.json()).toMatchObject({ error_code: "INVALID_STATE_TRANSITION", from_state: "paid" });

  await page.reload();
  await withdrawal.expectState("Paid");
  for (const event of ["Requested", "Approved", "Sent to be paid"]) {
    await expect(withdrawal.timeline.getByText(event, { exact: true })).toBeVisible();
  }
  await expect(withdrawal.timeline.getByText(service().tenants.demo.people.finance.email).first()).toBeVisible();
  // Requested, dispatched, paid.
  await expect(withdrawal.ledger.getByRole("row")).toHaveCount(1 + 3);
  await expect(withdrawal.deeds).toContainText("Nothing can be done to it now.");
  await expect(withdrawal.balances).toContainText("30.00");
  expect(await player.balance()).toEqual(["30.00", "0.00"]);
});
