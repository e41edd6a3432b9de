import { expect, type Locator, type Page } from "@playwright/test";

import type { SignIn } from "../support/service";

/** The door of the console, in English. */
export class SignInPage {
  readonly problem: Locator;

  constructor(private readonly page: Page) {
    this.problem = page.getByRole("alert");
  }

  async open(): Promise<void> {
    await this.page.goto("/console/sign-in");
  }

  async fill({ email, password }: SignIn): Promise<void> {
    await this.page.getByLabel("E-mail address").fill(email);
    await this.page.getByLabel("Password").fill(password);
    await this.page.getByRole("button", { name: "Sign in" }).click();
  }

  /** Sign in and wait until one is inside. */
  async signIn(person: SignIn): Promise<void> {
    await this.open();
    await this.fill(person);
    await expect(this.page.getByRole("main")).toBeVisible();
    await expect(this.page.getByRole("navigation", { name: "Main navigation" })).toBeVisible();
  }
}
