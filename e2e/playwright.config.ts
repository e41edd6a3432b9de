import { defineConfig } from "@playwright/test";

import { findChromium } from "./support/chromium";

// One real service for the whole run (support/service.ts), so specs make players of their own and never count on what
// another spec left behind.
export default defineConfig({
  testDir: "./tests",
  globalSetup: "./support/service.ts",
  // Everything that a failure leaves behind; ignored by Git, kept until the next run.
  outputDir: "./test-results",
  workers: 2,
  fullyParallel: true,
  forbidOnly: true,
  retries: 0,
  timeout: 30_000,
  expect: { timeout: 7_000 },
  reporter: [["list"]],
  use: {
    browserName: "chromium",
    locale: "en-GB",
    timezoneId: "UTC",
    viewport: { width: 1280, height: 900 },
    screenshot: "only-on-failure",
    trace: "retain-on-failure",
    launchOptions: {
      executablePath: findChromium(),
      // No sandbox: as root, and in most containers, there is none to be had. The rest keeps the browser off the network.
      args: [
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
      ],
    },
  },
});
