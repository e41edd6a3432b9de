import { randomUUID } from "node:crypto";

import { AdminsPage } from "../pages/admins";
import { SignInPage } from "../pages/sign-in";
import { Frame } from "../pages/frame";
import { expect, test } from "../support/fixtures";
import { service } from "../support/service";

test("somebody is made, signs in, is given another role, is signed out and locked out", async ({ people }) => {
  const email = `${randomUUID()}@e2e.example`;
  const password = randomUUID();
  const admins = new AdminsPage(await people.signedIn("tenant admin"));
  await admins.create(email, "Viewer", password);
  await expect(admins.page.getByRole("status").first()).toContainText("Created.");

  const page = await people.stranger();
  await new SignInPage(page).signIn({ email, password });
  await expect(new Frame(page).entry("Withdrawals")).toHaveCount(0);
  await admins.page.reload();
  await expect(admins.page.getByRole("region", { name: "Open sessions" })).toContainText("another browser");

  const form = admins.page.locator("details.deed").filter({ hasText: "Change the role" });
  await form.locator("summary").click();
  await form.getByLabel("Role").selectOption({ label: "Finance" });
  await form.getByLabel(/Reason/).fill("helps out in finance");
  await form.getByRole("button", { name: "Give this role" }).click();
  await expect(admins.page.getByText("Done. The role counts")).toBeVisible();
  await page.goto("/console");
  await expect(new Frame(page).entry("Withdrawals")).toBeVisible();

  await admins.perform("End all sessions", "End all sessions");
  await expect(admins.page.getByText("No open session")).toBeVisible();
  await page.goto("/console");
  await expect(page).toHaveURL(/sign-in/);

  const another = randomUUID();
  await admins.perform("Set a new password", "Set this password", { "Password for them": another });
  await expect(admins.page.getByText("Done. The new password")).toBeVisible();
  await new SignInPage(page).fill({ email, password });
  await expect(new SignInPage(page).problem).toBeVisible();
  await new SignInPage(page).signIn({ email, password: another });

  await admins.perform("Deactivate", "Deactivate this account");
  await expect(admins.page.getByText("Done. The account is deactivated")).toBeVisible();
  await page.goto("/console");
  await expect(page).toHaveURL(/sign-in/);

  // All of it is in the audit, and none of it says a password.
  const { pathname } = new URL(admins.page.url());
  await admins.page.goto(`/console/audit?object_id=${pathname.split("/").pop()}`);
  await expect(admins.page.locator("tbody tr")).toHaveCount(5);
  await expect(admins.page.getByText("helps out in finance")).toBeVisible();
  expect(await admins.page.content()).not.toContain(another);
});

test("nobody changes their own role, and no crafted form does", async ({ people }) => {
  const page = await people.signedIn("tenant admin");
  const { email } = service().tenants.demo.people["tenant admin"];
  const admins = new AdminsPage(page);
  await admins.open();
  await page.getByRole("link", { name: email }).click();
  await expect(page.getByText("This is your own account: another admin has to do it.").first()).toBeVisible();
  await expect(page.getByRole("button", { name: "Give this role" })).toHaveCount(0);

  const proof = await page.locator('form[action="/console/sign-out"] input[type="hidden"]').evaluate((input) => {
    const { name, value } = input as HTMLInputElement;
    return { [name]: value };
  });
  const { pathname } = new URL(page.url());
  for (const role of ["owner", "viewer"]) {
    const answer = await page.request.post(`${pathname}/role`, {
      form: { ...proof, role, seen_at: new Date().toISOString() },
      headers: { Origin: service().url },
    });
    expect([403, 409], role).toContain(answer.status());
  }
  await page.reload();
  await expect(page.getByRole("region", { name: "Account", exact: true })).toContainText("Tenant administrator");
});

for (const role of ["finance", "viewer"]) {
  test(`a ${role} manages nobody, and an admin of a tenant no tenant`, async ({ people }) => {
    const page = await people.signedIn(role);
    await page.goto("/console");
    await expect(new Frame(page).entry("Admins")).toHaveCount(0);
    await expect(new Frame(page).entry("Tenants")).toHaveCount(0);
    for (const path of ["admins", "tenants"]) {
      expect((await page.request.get(`/console/${path}`)).status(), path).toBe(403);
    }
    const admin = await people.signedIn("tenant admin");
    expect((await admin.request.get("/console/tenants")).status()).toBe(403);
    const person = await people.signedIn("owner");
    await person.goto("/console/tenants");
    await person.getByRole("link", { name: "Demo with drift" }).click();
    await expect(person.getByRole("region", { name: "Flags, and where each comes from" })).toContainText("ledger_shadow_write");
  });
}
