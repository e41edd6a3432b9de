import { expect, type Locator, type Page } from "@playwright/test";

/** What is open, and the list of findings. */
export class FindingsPage {
  readonly rows: Locator;
  readonly board: Locator;

  constructor(readonly page: Page) {
    this.rows = page.getByRole("region", { name: "Findings", exact: true }).getByRole("row");
    this.board = page.getByRole("region", { name: "Open findings" });
  }

  async open(query = ""): Promise<void> {
    await this.page.goto(`/console/reconciliation${query}`);
  }

  /** The row's link to a finding, by its id. */
  linkTo(id: string): Locator {
    return this.rows.locator(`a[href="/console/reconciliation/findings/${id}"]`);
  }
}

/** One finding. */
export class FindingPage {
  readonly status: Locator;
  readonly sides: Locator;
  readonly history: Locator;
  readonly deeds: Locator;
  readonly refusal: Locator;

  constructor(readonly page: Page) {
    this.status = page.locator("#state");
    this.sides = page.getByRole("region", { name: "Both sides" });
    this.history = page.getByRole("region", { name: "History" });
    this.deeds = page.getByRole("region", { name: "What you can do" });
    this.refusal = page.getByRole("alert");
  }

  async open(id: string): Promise<void> {
    await this.page.goto(`/console/reconciliation/findings/${id}`);
  }

  async expectStatus(name: string): Promise<void> {
    await expect(this.status).toHaveText(new RegExp(`${name}$`));
  }

  /** Unfold a deed, fill in what it asks for, and confirm it. */
  async perform(name: string, confirm: string, fill: Record<string, string> = {}): Promise<void> {
    // The summary may say besides that the deed is the suggested one.
    const summary = this.page.locator("summary", { hasText: new RegExp(`^${name}( suggested)?$`) });
    const deed = this.deeds.getByRole("group").filter({ has: summary });
    await deed.locator("summary").click();
    for (const [label, value] of Object.entries(fill)) {
      const field = deed.getByLabel(label);
      if (await field.evaluate((element) => element instanceof HTMLSelectElement)) await field.selectOption({ label: value });
      else await field.fill(value);
    }
    await deed.getByRole("button", { name: confirm, exact: true }).click();
  }
}
