import { expect, type Page } from "@playwright/test";

/** Admins as a list, and the page of one. */
export class AdminsPage {
  constructor(readonly page: Page) {}

  async open(): Promise<void> {
    await this.page.goto("/console/admins");
  }

  /** Make somebody; then their page is open. */
  async create(email: string, role: string, password: string): Promise<void> {
    await this.open();
    await this.page.getByText("New admin").click();
    await this.page.getByLabel("E-mail address").fill(email);
    await this.page.getByLabel("Role").selectOption({ label: role });
    await this.page.getByLabel("Password for them").fill(password);
    await this.page.getByRole("button", { name: "Create" }).click();
    await expect(this.page.getByRole("heading", { level: 1, name: email })).toBeVisible();
  }

  /** Open one of the deeds beside an admin, fill in what it asks for, and do it. */
  async perform(deed: string, button: string, fields: Record<string, string> = {}): Promise<void> {
    const form = this.page.locator("details.deed").filter({ has: this.page.getByText(deed, { exact: true }) }).first();
    await form.locator("summary").click();
    for (const [label, text] of Object.entries(fields)) await form.getByLabel(label).fill(text);
    await form.getByRole("button", { name: button }).click();
  }
}
