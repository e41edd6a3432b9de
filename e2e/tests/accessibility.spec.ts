import { randomUUID } from "node:crypto";

import type { Page } from "@playwright/test";

import { WithdrawalsPage } from "../pages/withdrawals";
import { Caller, withdrawal } from "../support/api";
import { expect, expectAccessible, test } from "../support/fixtures";
import { service } from "../support/service";

// A trace of so many pages takes longer than to look at them, and a failure says all there is to know.
test.use({ trace: "off" });

/** Pages by what they show; each is opened by its function. */
const PAGES: Record<string, (page: Page) => Promise<unknown>> = {
  overview: (page) => page.goto("/console"),
  withdrawals: (page) => page.goto("/console/withdrawals"),
  "withdrawals, none": (page) => page.goto(`/console/withdrawals?method=${randomUUID()}`),
  "withdrawals, filter that cannot be read": (page) => page.goto("/console/withdrawals?min_amount=much&currency=XYZQ"),
  ...Object.fromEntries(
    ["requested", "failed", "paid", "returned"].map((state) => [
      `withdrawal, ${state}`,
      async (page: Page) => {
        const found = await (await Caller.admin("finance")).get(`/finance/withdrawals?state=${state}&limit=1`);
        const { items } = await found.json();
        await page.goto(`/console/withdrawals/${items[0].tx_id}`);
      },
    ]),
  ),
  players: (page) => page.goto("/console/players"),
  "players, none": (page) => page.goto(`/console/players?q=${randomUUID()}@nobody.example`),
  player: async (page) => page.goto(`/console/players/${await aPlayer()}`),
  explanation: async (page) => page.goto(`/console/players/${await aPlayer()}/explain`),
  reconciliation: (page) => page.goto("/console/reconciliation?status=any"),
  "reconciliation, none": (page) => page.goto("/console/reconciliation?provider=nobody&age=9d"),
  finding: async (page) => page.goto(`/console/reconciliation/findings/${await first("/payments/reconciliation/findings")}`),
  runs: (page) => page.goto("/console/reconciliation/runs"),
  run: async (page) => page.goto(`/console/reconciliation/runs/${await first("/payments/reconciliation/runs")}`),
  adjustments: (page) => page.goto("/console/adjustments"),
  webhooks: (page) => page.goto("/console/webhooks"),
  "webhooks, none": (page) => page.goto(`/console/webhooks?event=${randomUUID()}`),
  webhook: async (page) => page.goto(`/console/webhooks/${await first("/payments/events")}`),
  rollout: (page) => page.goto("/console/rollout"),
  "rollout, tenant": async (page) => {
    await page.goto(`/console/rollout/${service().tenants.demo.id}`);
    // What led there is loaded after the page.
    await page.locator("#h-events").waitFor();
  },
  backfill: (page) => page.goto("/console/backfill"),
  audit: (page) => page.goto("/console/audit"),
  "audit, none": (page) => page.goto(`/console/audit?object_id=${randomUUID()}`),
  "audit, day that is none": (page) => page.goto("/console/audit?date_from=yesterday&action=nobody.knows"),
  "not found": (page) => page.goto(`/console/withdrawals/${randomUUID()}`),
};

async function aPlayer(): Promise<string> {
  const found = await (await Caller.admin("finance")).get("/players?email=verified@demo.example");
  return (await found.json()).items[0].id;
}

/** The newest of a list of the API. */
async function first(path: string): Promise<string> {
  const { items } = await (await (await Caller.admin("finance")).get(`${path}?limit=1`)).json();
  return items[0].id;
}

const LOOKS = [
  { name: "wide, light", options: { colorScheme: "light", viewport: { width: 1280, height: 900 } } },
  { name: "phone, dark, Turkish", options: { colorScheme: "dark", viewport: { width: 390, height: 844 }, locale: "tr-TR" } },
] as const;

for (const { name: look, options } of LOOKS) {
  test(`no page breaks a rule of accessibility: ${look}`, async ({ people }) => {
    test.slow();
    const page = await people.signedIn("finance", { ...options, fresh: true });
    for (const [name, open] of Object.entries(PAGES)) {
      await test.step(name, async () => {
        await open(page);
        await expectAccessible(page);
        // A phone scrolls down, never sideways.
        const overhang = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
        expect.soft(overhang, `${name} is wider than the screen`).toBeLessThanOrEqual(0);
      });
    }
  });

  test(`the door breaks none either: ${look}`, async ({ people }) => {
    const page = await people.stranger(options);
    await page.goto("/console/sign-in");
    await expectAccessible(page);
  });
}

test("forms that come before a deed break none", async ({ people }) => {
  const method = `axe-${randomUUID()}`;
  const { player } = await withdrawal("15.00", { method });
  const list = new WithdrawalsPage(await people.signedIn("finance"));
  await list.open(`?method=${method}`);
  await list.select(player.email);
  await expectAccessible(list.page);
  await list.reviewBulk("Reject");
  await expectAccessible(list.page);
});

test("what others are shown breaks none", async ({ people }) => {
  test.slow();
  const owner = await people.signedIn("owner");
  await owner.goto("/console/tenant");
  await expectAccessible(owner);
  await owner.goto(`/console/rollout/${service().tenants.demo.id}`);
  await owner.locator("#h-events").waitFor();
  await expectAccessible(owner);
  await owner.goto(`/console/rollout/${service().tenants["demo-drift"].id}`);
  await owner.locator("#h-events").waitFor();
  await expectAccessible(owner);
  await owner.goto("/console/backfill");
  await owner.locator("summary").filter({ hasText: "Start a backfill" }).click();
  await expectAccessible(owner);
  for (const path of ["admins", "tenants"]) {
    await owner.goto(`/console/${path}`);
    await owner.locator("details.fold > summary").click();
    await expectAccessible(owner);
    await owner.getByRole("table").getByRole("link").first().click();
    for (const deed of await owner.locator("details.deed > summary").all()) await deed.click();
    await expectAccessible(owner);
  }
  for (const path of ["tenants/flags", `rollout/verdicts/tenant/${service().tenants["demo-drift"].id}/T3`]) {
    await owner.goto(`/console/${path}`);
    await expectAccessible(owner);
  }
  const viewer = await people.signedIn("viewer");
  await viewer.goto("/console/withdrawals");
  await expectAccessible(viewer);
});
