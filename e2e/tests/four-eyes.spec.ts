import { WithdrawalPage } from "../pages/withdrawals";
import { Caller, withdrawal } from "../support/api";
import { expect, test } from "../support/fixtures";

// The demo asks for two people from 1,000.00 on.
test("much money takes two people", async ({ people }) => {
  const { player, id } = await withdrawal("1200.00");
  const first = new WithdrawalPage(await people.signedIn("finance"));
  await first.open(id);
  await first.perform("Approve");
  await first.expectState("Second approval");

  // The page does not offer it to the same person, and the server does not take it either.
  await expect(first.deeds).toContainText("Two different people have to approve, and you approved first.");
  await expect(first.deeds.getByRole("button", { name: /^Approve / })).toHaveCount(0);
  const again = await (await Caller.admin("finance")).post(`/finance/withdrawals/${id}/review`, { action: "approve" });
  expect([again.status(), (await again.json()).error_code]).toEqual([403, "FOUR_EYES_REQUIRED"]);

  const second = new WithdrawalPage(await people.signedIn("approver"));
  await second.open(id);
  await second.perform("Approve");
  await second.expectState("Approved");
  await expect(second.page.getByText("2 / 2")).toBeVisible();
  await expect(second.timeline.getByText("First approval", { exact: true })).toBeVisible();
  expect(await player.balance()).toEqual(["800.00", "1200.00"]);
});

test("little money takes one", async ({ people }) => {
  const { id } = await withdrawal("999.99");
  const desk = new WithdrawalPage(await people.signedIn("approver"));
  await desk.open(id);
  await desk.perform("Approve");
  await desk.expectState("Approved");
});
