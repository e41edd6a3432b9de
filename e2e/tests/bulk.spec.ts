import { randomUUID } from "node:crypto";

import { WithdrawalsPage } from "../pages/withdrawals";
import { Caller, withdrawal } from "../support/api";
import { expect, test } from "../support/fixtures";

test("several are approved at once, and each has a result of its own", async ({ people }) => {
  // A method of our own tells our withdrawals from all others.
  const method = `bulk-${randomUUID()}`;
  const ours = await Promise.all(["31.00", "32.00", "33.00"].map((amount) => withdrawal(amount, { method })));
  const list = new WithdrawalsPage(await people.signedIn("finance"));
  await list.open(`?method=${method}`);
  for (const { player } of ours) await list.select(player.email);
  await expect(list.page.getByText("3 selected")).toBeVisible();
  await list.reviewBulk("Approve");
  await expect(list.page.getByText("96.00")).toBeVisible();

  // While this person looks at the sums another one rejects the first.
  const approver = await Caller.admin("approver");
  const faster = await approver.post(`/finance/withdrawals/${ours[0].id}/review`, {
    action: "reject",
    reason: "Somebody was faster",
  });
  expect(faster.status()).toBe(200);

  await list.page.getByRole("button", { name: "Approve these" }).click();
  await expect(list.page.getByRole("status").first()).toContainText("2 of 3 were done.");
  await expect(list.page.getByRole("row").filter({ hasText: ours[0].player.email })).toContainText("Rejected");
  for (const { player } of ours.slice(1)) {
    await expect(list.page.getByRole("row").filter({ hasText: player.email })).toContainText("Approved");
  }
});
