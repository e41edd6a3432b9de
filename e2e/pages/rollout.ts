import { expect, type Locator, type Page } from "@playwright/test";

/** The fleet, and one tenant on its way to the ledger. */
export class RolloutPage {
  readonly rows: Locator;
  readonly stage: Locator;
  readonly arbiter: Locator;
  readonly gates: Locator;
  readonly deeds: Locator;
  readonly timeline: Locator;
  readonly refusal: Locator;

  constructor(readonly page: Page) {
    this.rows = page.getByRole("region", { name: "The fleet" }).getByRole("row");
    this.stage = page.locator("#stage");
    this.arbiter = page.locator("#arbiter");
    this.gates = page.getByRole("region", { name: "Gates" });
    this.deeds = page.getByRole("region", { name: "What you can do" });
    this.timeline = page.getByRole("region", { name: "Timeline" });
    this.refusal = page.locator("#refusal");
  }

  async openFleet(): Promise<void> {
    await this.page.goto("/console/rollout");
  }

  async open(tenantId: string): Promise<void> {
    await this.page.goto(`/console/rollout/${tenantId}`);
    // What led there is loaded after the page.
    await expect(this.timeline).toBeVisible();
  }

  deed(name: string): Locator {
    return this.deeds.getByRole("group").filter({ has: this.page.getByText(name, { exact: true }) });
  }

  /** Unfold a deed, say why, type what it asks for, and confirm it. */
  async perform(
    name: string,
    { reason, typed, waive = false }: { reason: string; typed?: string; waive?: boolean },
  ): Promise<void> {
    const deed = this.deed(name).first();
    await deed.locator("summary").click();
    if (waive) for (const box of await deed.getByRole("checkbox").all()) await box.check();
    if (typed !== undefined) await deed.getByLabel("To confirm, type the tenant's name").fill(typed);
    await deed.getByLabel("Reason").fill(reason);
    await deed.getByRole("button").click();
  }
}
