import type { Locator, Page } from "@playwright/test";

/** One flag at one place: of a tenant, or for everybody. */
export class FlagPage {
  readonly now: Locator;
  readonly past: Locator;
  readonly change: Locator;
  readonly refusal: Locator;

  constructor(readonly page: Page) {
    this.now = page.getByRole("region", { name: "Now", exact: true });
    this.past = page.getByRole("region", { name: "Changes so far" });
    this.change = page.getByRole("region", { name: "Change it" });
    this.refusal = page.locator("#refusal");
  }

  async fill(value: string, { reason, typed }: { reason: string; typed: string }): Promise<void> {
    await this.change.getByRole("radio", { name: value }).check();
    await this.change.getByLabel("Reason").fill(reason);
    await this.change.getByLabel("To confirm, type").fill(typed);
  }

  async send(): Promise<void> {
    await this.change.getByRole("button", { name: "Set the flag" }).click();
  }
}
