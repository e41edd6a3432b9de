import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";

import { WithdrawalsPage } from "../pages/withdrawals";
import { Player } from "../support/api";
import { expect, test } from "../support/fixtures";

test("the list is downloaded as it is filtered, and no cell is a formula", async ({ people }) => {
  const method = `csv-${randomUUID()}`;
  const player = await Player.create();
  await player.deposit("500.00");
  const ids = [
    await player.withdraw("10.00", { method, address: "=1+1" }),
    await player.withdraw("20.50", { method, address: "DE02, and a comma" }),
  ];
  const list = new WithdrawalsPage(await people.signedIn("finance"));
  await list.open(`?method=${method}`);
  const [download] = await Promise.all([
    list.page.waitForEvent("download"),
    list.page.getByRole("link", { name: "CSV" }).click(),
  ]);
  expect(download.suggestedFilename()).toMatch(/\.csv$/);
  const text = readFileSync(await download.path(), "utf-8").replace(/^\uFEFF/, "");
  const [header, ...lines] = text.trimEnd().split(/\r?\n/);
  expect(header).toContain("amount");
  expect(lines).toHaveLength(ids.length);
  for (const id of ids) expect(lines.filter((line) => line.includes(id))).toHaveLength(1);
  expect(text).toContain('"DE02, and a comma"');
  expect(text).toContain("20.50");
  // A spreadsheet would calculate a cell that begins like this one.
  expect(text).not.toMatch(/(^|,)"?=1\+1/m);
});
