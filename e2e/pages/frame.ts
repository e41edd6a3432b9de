import type { Locator, Page } from "@playwright/test";

/** What is around every page of somebody who is signed in, in either language. */
export class Frame {
  readonly navigation: Locator;
  readonly account: Locator;
  readonly search: Locator;

  constructor(readonly page: Page) {
    this.navigation = page.getByRole("navigation", { name: /^(Main navigation|Ana gezinme)$/ });
    this.account = page.getByLabel(/^(Your account|Hesabınız)$/);
    this.search = page.getByLabel(/^(Search|Ara)$/).first();
  }

  entry(name: string): Locator {
    return this.navigation.getByRole("link", { name });
  }

  /** Press one of the buttons in the account's menu: a language, a theme, or signing out. */
  async choose(button: string): Promise<void> {
    await this.account.click();
    await this.page.getByRole("button", { name: button, exact: true }).click();
  }
}
