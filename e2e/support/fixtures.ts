import { AxeBuilder } from "@axe-core/playwright";
import { type Browser, type BrowserContext, type Page, test as base, expect } from "@playwright/test";

import { SignInPage } from "../pages/sign-in";
import { service, type Tenant } from "./service";

// What a browser says about an answer that a spec asked for, such as a refusal, is no error of the page.
const REFUSED = /^Failed to load resource: the server responded with a status of 4\d\d/;

/** People at the console, each in a browser of their own; what their pages complain about fails the spec. */
export class People {
  private readonly contexts: BrowserContext[] = [];
  private readonly complaints: string[] = [];

  constructor(
    private readonly browser: Browser,
    private readonly sessions: Map<string, Awaited<ReturnType<BrowserContext["storageState"]>>>,
  ) {}

  /** A page of somebody who is signed in, by what they are. options: of the browser, such as its width. */
  async signedIn(
    title: string,
    { tenant = service().tenants.demo, fresh = false, ...options }: PersonOptions = {},
  ): Promise<Page> {
    const { email } = tenant.people[title];
    // Signing in costs a hash: what is not about it uses the session of the spec before.
    const known = fresh ? undefined : this.sessions.get(email);
    const page = await this.stranger({ ...options, storageState: known });
    if (!known) {
      await new SignInPage(page).signIn(tenant.people[title]);
      if (!fresh) this.sessions.set(email, await page.context().storageState());
    }
    return page;
  }

  /** A page of somebody who is not signed in. */
  async stranger(options: Parameters<Browser["newContext"]>[0] = {}): Promise<Page> {
    const context = await this.browser.newContext({ baseURL: service().url, ...options });
    this.contexts.push(context);
    const page = await context.newPage();
    page.on("console", (message) => {
      if (message.type() === "error" && !REFUSED.test(message.text())) this.complaints.push(message.text());
    });
    page.on("pageerror", (error) => this.complaints.push(String(error)));
    page.on("request", (asked) => {
      if (!asked.url().startsWith(service().url) && !/^(data|blob|about):/.test(asked.url())) {
        this.complaints.push(`asked another host: ${asked.url()}`);
      }
    });
    return page;
  }

  async leave(): Promise<void> {
    await Promise.all(this.contexts.map((context) => context.close()));
    expect(this.complaints, "what browsers complained about").toEqual([]);
  }
}

type PersonOptions = { tenant?: Tenant; fresh?: boolean } & NonNullable<Parameters<Browser["newContext"]>[0]>;

export const test = base.extend<
  { people: People },
  { sessions: Map<string, Awaited<ReturnType<BrowserContext["storageState"]>>> }
>({
  // Playwright reads what a fixture needs off its first parameter, which therefore has to be a pattern.
  // eslint-disable-next-line no-empty-pattern
  sessions: [async ({}, use) => use(new Map()), { scope: "worker" }],
  people: async ({ browser, sessions }, use) => {
    const people = new People(browser, sessions);
    await use(people);
    await people.leave();
  },
});

/** The page breaks no rule of accessibility that a program can check. */
export async function expectAccessible(page: Page): Promise<void> {
  const { violations } = await new AxeBuilder({ page })
    .withTags(["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"])
    .analyze();
  expect(
    violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html, failureSummary }) => `${html} ${failureSummary}`).join("\n")}`),
    page.url(),
  ).toEqual([]);
}

export { expect };
