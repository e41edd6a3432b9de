import { FlagPage } from "../pages/flag";
import { expect, expectAccessible, test } from "../support/fixtures";
import { service } from "../support/service";

const WRITTEN = "The ledger is written beside the legacy column";
const DECIDES = "The ledger decides about balances";
const EVIDENCE = "Keeps evidence where both sides differ";

test("a tenant's flag is set with its name typed, and left to the levels below again", async ({ people }) => {
  const owner = await people.signedIn("owner");
  const tenant = service().tenants["demo-drift"];
  await owner.goto(`/console/tenants/${tenant.id}`);
  await owner.getByRole("link", { name: EVIDENCE }).click();
  const flag = new FlagPage(owner);
  await expect(flag.change).toContainText("mismatches are no longer seen");
  await expectAccessible(owner);
  await flag.fill("Off", { reason: "too loud, ticket 4711", typed: "Demo" });
  await flag.send();
  await expect(flag.refusal).toContainText("The name that was typed is not the tenant's.");
  await expect(flag.now).toContainText("On");
  await flag.fill("Off", { reason: "too loud, ticket 4711", typed: "Demo with drift" });
  await flag.send();
  await expect(owner.getByRole("status").filter({ hasText: "The flag is set" })).toBeVisible();
  await expect(flag.now).toContainText("Set for this tenant");
  await expect(flag.past.getByRole("row").nth(1)).toContainText("too loud, ticket 4711");
  await flag.fill("Leave it to the levels below", { reason: "heard enough", typed: "Demo with drift" });
  await flag.send();
  await expect(flag.now).toContainText("The default");
  await expect(flag.past.getByRole("row").nth(1)).toContainText("left to the levels below");
});

test("whoever looked earlier overwrites nothing", async ({ people }) => {
  const [first, second] = [await people.signedIn("owner", { fresh: true }), await people.signedIn("owner", { fresh: true })];
  const [one, other] = [new FlagPage(first), new FlagPage(second)];
  const path = `/console/tenants/${service().tenants["demo-drift"].id}/flags/ledger_shadow_write`;
  for (const flag of [one, other]) {
    await flag.page.goto(path);
    await flag.fill("On", { reason: "it shall stay on", typed: "Demo with drift" });
  }
  await one.send();
  await expect(first.getByRole("status").filter({ hasText: "The flag is set" })).toBeVisible();
  await other.send();
  await expect(other.refusal).toContainText("Somebody changed this flag since you looked.");
  await expect(other.now).toContainText("Set for this tenant");
});

test("what decides who judges money leads to the rollout, on a phone in Turkish too", async ({ people }) => {
  const owner = await people.signedIn("owner");
  const tenant = service().tenants.demo;
  await owner.goto(`/console/tenants/${tenant.id}`);
  await owner.getByRole("link", { name: DECIDES }).click();
  await expect(owner.getByRole("button", { name: "Set the flag" })).toHaveCount(0);
  await owner.getByRole("link", { name: "To enforcing and rolling back" }).click();
  await expect(owner).toHaveURL(new RegExp(`/console/rollout/${tenant.id}$`));

  const phone = await people.signedIn("owner", {
    fresh: true,
    viewport: { width: 390, height: 844 },
    locale: "tr-TR",
    colorScheme: "dark",
  });
  for (const path of ["flags", "flags/webhook_signature_enforced", `${tenant.id}/flags/ledger_shadow_write`]) {
    await phone.goto(`/console/tenants/${path}`);
    await expectAccessible(phone);
    const overhang = await phone.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
    expect(overhang, path).toBeLessThanOrEqual(0);
  }
});

test("nobody but an owner sees or sets flags there", async ({ people }) => {
  const admin = await people.signedIn("tenant admin");
  const { id } = service().tenants.demo;
  for (const path of ["flags", "flags/ledger_shadow_write", `${id}/flags/ledger_shadow_write`]) {
    expect((await admin.request.get(`/console/tenants/${path}`)).status(), path).toBe(403);
  }
  await admin.goto(`/console/rollout/${id}`);
  await expect(admin.getByRole("link", { name: WRITTEN })).toHaveCount(0);
  await expect(admin.getByRole("link", { name: "ledger_shadow_write" })).toHaveCount(0);
});
