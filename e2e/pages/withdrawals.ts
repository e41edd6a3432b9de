import { expect, type Locator, type Page } from "@playwright/test";

/** The list of withdrawals with its queues. */
export class WithdrawalsPage {
  readonly rows: Locator;

  constructor(readonly page: Page) {
    this.rows = page.getByRole("region", { name: "Withdrawals" }).getByRole("row");
  }

  async open(query = ""): Promise<void> {
    await this.page.goto(`/console/withdrawals${query}`);
  }

  queue(name: string): Locator {
    return this.page.getByRole("region", { name: "Queues" }).getByRole("link", { name });
  }

  /** The row about somebody, by their address. */
  rowOf(email: string): Locator {
    return this.rows.filter({ hasText: email });
  }

  async select(email: string): Promise<void> {
    await this.rowOf(email).getByRole("checkbox").check();
  }

  /** Go on to the page that shows what would be done to those that are selected. */
  async reviewBulk(action: string): Promise<void> {
    await this.page.getByLabel("What to do with the selected ones").selectOption({ label: action });
    await this.page.getByRole("button", { name: "Look at it first" }).click();
  }
}

/** One withdrawal. */
export class WithdrawalPage {
  readonly state: Locator;
  readonly timeline: Locator;
  readonly ledger: Locator;
  readonly deeds: Locator;
  readonly balances: Locator;
  readonly refusal: Locator;

  constructor(readonly page: Page) {
    this.state = page.locator("#state");
    this.timeline = page.getByRole("region", { name: "Timeline" });
    this.ledger = page.getByRole("region", { name: "Ledger transactions" });
    this.deeds = page.getByRole("region", { name: "What you can do" });
    this.balances = page.getByRole("region", { name: "Both balances" });
    this.refusal = page.getByRole("alert");
  }

  async open(id: string): Promise<void> {
    await this.page.goto(`/console/withdrawals/${id}`);
  }

  async expectState(name: string): Promise<void> {
    await expect(this.state).toHaveText(new RegExp(`${name}$`));
  }

  /** The deed's own fold, which says what it means before it is done. */
  deed(name: string): Locator {
    return this.deeds.getByRole("group").filter({ has: this.page.getByText(name, { exact: true }) });
  }

  /** Unfold a deed, say why where it asks for it, and confirm it. */
  async perform(name: string, { reason, evidence }: { reason?: string; evidence?: string } = {}): Promise<void> {
    const deed = this.deed(name);
    await deed.getByText(name, { exact: true }).click();
    if (reason !== undefined) await deed.getByLabel("Reason").fill(reason);
    if (evidence !== undefined) await deed.getByLabel("Evidence").fill(evidence);
    await deed.getByRole("button").click();
  }
}
