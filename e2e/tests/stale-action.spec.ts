import { WithdrawalPage } from "../pages/withdrawals";
import { withdrawal } from "../support/api";
import { expect, test } from "../support/fixtures";

test("who acts on what has changed is shown the new state, and overwrites nothing", async ({ people }) => {
  const { player, id } = await withdrawal("40.00", { paidIn: "100.00" });
  const slow = new WithdrawalPage(await people.signedIn("finance"));
  const quick = new WithdrawalPage(await people.signedIn("approver"));
  await slow.open(id);
  await quick.open(id);

  await quick.perform("Reject", { reason: "The account is in another name" });
  await quick.expectState("Rejected");

  await slow.perform("Approve");
  await expect(slow.refusal.filter({ hasText: "Nothing was done." })).toContainText("Rejected");
  await slow.expectState("Rejected");
  await expect(slow.timeline.getByText("The account is in another name")).toBeVisible();
  expect(await player.balance()).toEqual(["100.00", "0.00"]);
});

test("a page that is looked at says by itself that somebody was faster", async ({ people }) => {
  const { id } = await withdrawal("40.00");
  const looking = new WithdrawalPage(await people.signedIn("finance"));
  const acting = new WithdrawalPage(await people.signedIn("approver"));
  await looking.open(id);
  await acting.open(id);
  await acting.perform("Approve");
  await acting.expectState("Approved");
  // The page asks again after some seconds.
  await expect(looking.page.getByText("This withdrawal has changed since you opened the page.")).toBeVisible({
    timeout: 20_000,
  });
});

test("a rejection needs a reason", async ({ people }) => {
  const { id } = await withdrawal("40.00");
  const desk = new WithdrawalPage(await people.signedIn("finance"));
  await desk.open(id);
  await desk.perform("Reject");
  await expect(desk.deed("Reject").getByLabel("Reason")).toHaveJSProperty("validity.valid", false);
  await desk.open(id);
  await desk.expectState("Needs review");
});
