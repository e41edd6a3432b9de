import type { Locator, Page } from "@playwright/test";

/** The list of deliveries, with what waits above it. */
export class WebhooksPage {
  readonly rows: Locator;

  constructor(readonly page: Page) {
    this.rows = page.getByRole("region", { name: "Webhooks", exact: true }).getByRole("row");
  }

  async open(query = ""): Promise<void> {
    await this.page.goto(`/console/webhooks${query}`);
  }

  queue(name: string): Locator {
    return this.page.getByRole("region", { name: "Queues" }).getByRole("link", { name });
  }
}

/** One delivery. */
export class WebhookPage {
  readonly state: Locator;
  readonly outcome: Locator;
  readonly body: Locator;
  readonly headers: Locator;
  readonly deeds: Locator;

  constructor(readonly page: Page) {
    this.state = page.locator("#state");
    this.outcome = page.getByRole("region", { name: "What became of it" });
    this.body = page.locator("pre.raw-body");
    this.headers = page.getByRole("region", { name: "Headers that are kept" });
    this.deeds = page.getByRole("region", { name: "What you can do" });
  }

  async perform(name: string): Promise<void> {
    const deed = this.deeds.getByRole("group").filter({ hasText: name });
    await deed.getByText(name, { exact: true }).click();
    await deed.getByRole("button").click();
  }
}
