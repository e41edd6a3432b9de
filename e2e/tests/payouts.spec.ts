import { WithdrawalPage } from "../pages/withdrawals";
import { withdrawal } from "../support/api";
import { expect, test } from "../support/fixtures";

test("what the provider refuses to pay is retried and paid outside, with evidence", async ({ people }) => {
  const { player, id } = await withdrawal("60.00", { paidIn: "100.00", method: "mock:decline" });
  const desk = new WithdrawalPage(await people.signedIn("finance"));
  await desk.open(id);
  await desk.perform("Approve");
  await desk.expectState("Approved");
  await desk.perform("Pay");
  await desk.expectState("Failed");
  await desk.perform("Let it be paid again", { reason: "The player sent another account" });
  await desk.expectState("Approved");
  await desk.perform("Paid outside", { evidence: `SEPA-${id}` });
  await desk.expectState("Paid");
  await expect(desk.page.getByRole("region", { name: "Attempts to pay" }).getByRole("row")).toHaveCount(1 + 2);
  expect(await player.balance()).toEqual(["40.00", "0.00"]);
});

test("an approved withdrawal is cancelled and the money is the player's again", async ({ people }) => {
  const { player, id } = await withdrawal("60.00", { paidIn: "100.00" });
  const desk = new WithdrawalPage(await people.signedIn("finance"));
  await desk.open(id);
  await desk.perform("Approve");
  await desk.expectState("Approved");
  await desk.perform("Cancel", { reason: "The player asked to keep the money" });
  await desk.expectState("Cancelled");
  expect(await player.balance()).toEqual(["100.00", "0.00"]);
});
