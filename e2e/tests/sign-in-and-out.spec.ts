import { randomUUID } from "node:crypto";

import { Frame } from "../pages/frame";
import { SignInPage } from "../pages/sign-in";
import { expect, test } from "../support/fixtures";
import { service } from "../support/service";

test("who is not signed in is asked to, and goes on to where they wanted", async ({ people }) => {
  const page = await people.stranger();
  await page.goto("/console/players");
  await expect(page).toHaveURL(/\/console\/sign-in/);
  await new SignInPage(page).fill(service().tenants.demo.people.recon);
  await expect(page).toHaveURL(/\/console\/players$/);
});

test("a wrong password says so, and not which half was wrong", async ({ people }) => {
  const page = await people.stranger();
  const door = new SignInPage(page);
  const said: string[] = [];
  for (const email of [service().tenants.demo.people.viewer.email, `${randomUUID()}@nobody.example`]) {
    await door.open();
    await door.fill({ email, password: "not the password" });
    said.push((await door.problem.textContent()) ?? "");
  }
  expect(said[0]).toContain("is not right");
  expect(said[1]).toBe(said[0]);
});

test("signing out ends the session, also for who has kept its cookie", async ({ people }) => {
  const page = await people.signedIn("finance", { fresh: true });
  const kept = await page.context().storageState();
  await new Frame(page).choose("Sign out");
  await expect(page).toHaveURL(/\/console\/sign-in/);
  await page.goBack();
  await page.goto("/console/withdrawals");
  await expect(page).toHaveURL(/\/console\/sign-in/);

  const thief = await people.stranger({ storageState: kept });
  await thief.goto("/console/withdrawals");
  await expect(thief).toHaveURL(/\/console\/sign-in/);
});

test("the session's cookie is out of reach of scripts", async ({ people }) => {
  const page = await people.signedIn("finance");
  await page.goto("/console");
  const visible = await page.evaluate(() => document.cookie);
  const secret = (await page.context().cookies()).filter(({ httpOnly }) => httpOnly);
  expect(secret.length).toBeGreaterThan(0);
  for (const { value, sameSite } of secret) {
    expect(visible).not.toContain(value);
    expect(sameSite).not.toBe("None");
  }
});
