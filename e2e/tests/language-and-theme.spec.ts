import { Frame } from "../pages/frame";
import { withdrawal } from "../support/api";
import { expect, test } from "../support/fixtures";

test("the console speaks Turkish, and remembers it", async ({ people }) => {
  const { id } = await withdrawal("950.00");
  const page = await people.signedIn("finance");
  const frame = new Frame(page);
  await page.goto(`/console/withdrawals/${id}`);
  await expect(page.locator("html")).toHaveAttribute("lang", "en");
  await expect(page.getByText("950.00").first()).toBeVisible();

  await frame.choose("Türkçe");
  // One stays where one was.
  await expect(page).toHaveURL(new RegExp(id));
  await expect(page.locator("html")).toHaveAttribute("lang", "tr");
  await expect(frame.entry("Çekimler")).toBeVisible();
  await expect(page.getByText("950,00").first()).toBeVisible();
  await page.goto("/console");
  await expect(page.locator("html")).toHaveAttribute("lang", "tr");

  await frame.choose("English");
  await expect(frame.entry("Withdrawals")).toBeVisible();
});

test("a language is chosen before one is signed in", async ({ people }) => {
  const page = await people.stranger();
  await page.goto("/console/sign-in");
  await page.getByRole("button", { name: "Türkçe" }).click();
  await expect(page.getByRole("heading", { level: 1 })).toHaveText("Giriş");
  await expect(page.getByLabel("Parola")).toBeVisible();
});

test("a Turkish browser is spoken to in Turkish", async ({ people }) => {
  const page = await people.stranger({ locale: "tr-TR" });
  await page.goto("/console/sign-in");
  await expect(page.locator("html")).toHaveAttribute("lang", "tr");
});

test("light and dark are chosen and kept; else it is as the system is", async ({ people }) => {
  const page = await people.signedIn("finance", { colorScheme: "dark" });
  const brightness = () =>
    page.evaluate(() => {
      const [red, green, blue] = getComputedStyle(document.body).backgroundColor.match(/\d+/g)!.map(Number);
      return (red + green + blue) / 3;
    });
  await page.goto("/console");
  expect(await brightness()).toBeLessThan(80);
  await new Frame(page).choose("Light");
  await expect(page.locator("html")).toHaveAttribute("data-bs-theme", "light");
  expect(await brightness()).toBeGreaterThan(200);
  await page.reload();
  expect(await brightness()).toBeGreaterThan(200);
  await new Frame(page).choose("Dark");
  await expect(page.locator("html")).toHaveAttribute("data-bs-theme", "dark");
  expect(await brightness()).toBeLessThan(80);
});
