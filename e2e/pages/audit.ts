import type { Locator, Page } from "@playwright/test";

/** What was done by whom. */
export class AuditPage {
  constructor(readonly page: Page) {}

  async open(query = ""): Promise<void> {
    await this.page.goto(`/console/audit${query}`);
  }

  /** The deeds that are shown, as rows that say a text. */
  deeds(text: string | RegExp): Locator {
    return this.page.getByRole("row").filter({ hasText: text });
  }

  async filter(fields: Record<string, string>): Promise<void> {
    for (const [label, text] of Object.entries(fields)) await this.page.getByLabel(label, { exact: true }).fill(text);
    await this.page.getByRole("button", { name: "Apply" }).click();
  }
}
