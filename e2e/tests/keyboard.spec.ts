import { WithdrawalPage } from "../pages/withdrawals";
import { withdrawal } from "../support/api";
import { expect, test } from "../support/fixtures";

test("a withdrawal is found and approved without a mouse", async ({ people }) => {
  const { id } = await withdrawal("35.00");
  const page = await people.signedIn("finance");
  await page.goto("/console");
  await page.keyboard.press("g");
  await page.keyboard.press("w");
  await expect(page).toHaveURL(/\/console\/withdrawals$/);

  await page.keyboard.press("/");
  await page.keyboard.type(id);
  await page.keyboard.press("Enter");
  const desk = new WithdrawalPage(page);
  await expect(page).toHaveURL(new RegExp(id));
  await desk.expectState("Needs review");

  await desk.deed("Approve").getByText("Approve", { exact: true }).focus();
  await page.keyboard.press("Enter");
  // From the fold over its one field to the button.
  await page.keyboard.press("Tab");
  await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  await desk.expectState("Approved");
});

test("rows are walked through by keys, and the keys are explained", async ({ people }) => {
  const page = await people.signedIn("finance");
  await page.goto("/console/withdrawals?state=paid");
  await page.keyboard.press("j");
  await page.keyboard.press("j");
  await page.keyboard.press("Enter");
  await expect(page).toHaveURL(/\/console\/withdrawals\/[0-9a-f-]{36}$/);
  await page.keyboard.press("?");
  await expect(page.getByRole("dialog")).toBeVisible();
  await page.keyboard.press("Escape");
  await expect(page.getByRole("dialog")).toBeHidden();
});

test("the first Tab offers to skip to the content", async ({ people }) => {
  const page = await people.signedIn("viewer");
  await page.goto("/console/players");
  await page.keyboard.press("Tab");
  await expect(page.getByRole("link", { name: "To the content" })).toBeFocused();
});
