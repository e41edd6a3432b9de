import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";

const READY = "hakem: ready on ";
// The last of what the demo prints about its people.
const GUIDANCE_END = "to try it as";
const START_MILLISECONDS_MAX = 90_000;
const STOP_MILLISECONDS_MAX = 30_000;
const RESULTS = resolve(__dirname, "../test-results");
const VARIABLE = "HAKEM_E2E_SERVICE";

export interface SignIn {
  email: string;
  password: string;
}

/** A tenant of the demo. people: who can sign in, by what they are, such as "finance" or "player, verified". */
export interface Tenant {
  id: string;
  people: Record<string, SignIn>;
}

/** The service that this run talks to. tenants: by their short names, "demo" and "demo-drift". home: its HAKEM_HOME. */
export interface Service {
  url: string;
  home: string;
  tenants: Record<string, Tenant>;
}

/** The service that the global set-up started. */
export function service(): Service {
  const told = process.env[VARIABLE];
  if (!told) throw new Error("the global set-up has not run");
  return JSON.parse(told) as Service;
}

/** Run `hakem` beside the service, on its database, as an operator does; what it printed. */
export function hakem(...words: string[]): string {
  return execFileSync(command(), words, { env: environment(service().home), encoding: "utf-8" });
}

/** Start `hakem serve` with a demo on a home and a port of its own; what is returned stops it, by its own pid. */
export default async function start(): Promise<() => Promise<void>> {
  if (!existsSync(command())) throw new Error(`${command()} is not there: run make setup first`);
  const folder = mkdtempSync(join(tmpdir(), "hakem-e2e-"));
  const log = join(folder, "serve.log");
  const home = join(folder, "home");
  const server = spawn(command(), ["serve", "--demo", "--demo-quiet", "--port", "0"], {
    env: environment(home),
    stdio: ["ignore", "pipe", openSync(log, "w")],
  });
  const stop = async (): Promise<void> => {
    try {
      await end(server);
    } finally {
      mkdirSync(RESULTS, { recursive: true });
      copyFileSync(log, join(RESULTS, "serve.log"));
      rmSync(folder, { recursive: true, force: true });
    }
  };
  try {
    process.env[VARIABLE] = JSON.stringify({ ...(await readGuidance(server)), home });
  } catch (error) {
    const said = readFileSync(log, "utf-8").slice(-4_000);
    await stop();
    throw new Error(`hakem serve did not get ready: ${error instanceof Error ? error.message : error}\n${said}`);
  }
  return stop;
}

function command(): string {
  return process.env.HAKEM_COMMAND ?? resolve(__dirname, "../../.venv/bin/hakem");
}

/** What the environment of this run says about a Hakem must not leak into the one under test. */
function environment(home: string): NodeJS.ProcessEnv {
  const kept = Object.entries(process.env).filter(
    ([name]) => !/^(LEDGER_|DATABASE_|WEBHOOK_|BOOTSTRAP_|FOUR_EYES_|ENV$)/.test(name),
  );
  return { ...Object.fromEntries(kept), HAKEM_HOME: home };
}

/** What the service prints: where it is, and who can sign in. */
async function readGuidance(server: ChildProcess): Promise<Omit<Service, "home">> {
  const tenants: Record<string, Tenant> = {};
  let url = "";
  let tenant: Tenant | undefined;
  const lines = createInterface({ input: server.stdout! });
  const deadline = setTimeout(() => lines.close(), START_MILLISECONDS_MAX);
  try {
    for await (const line of lines) {
      if (line.startsWith(READY)) url = line.slice(READY.length).trim();
      const [, slug, id] = /^(\S+) tenant (\S+)$/.exec(line) ?? [];
      if (slug && id) tenants[slug] = tenant = { id, people: {} };
      const [, title, email, password] = /^ {2}(\S.*?) {2,}(\S+@\S+) +(\S+)$/.exec(line) ?? [];
      if (tenant && title && email && password) tenant.people[title] = { email, password };
      if (line.startsWith(GUIDANCE_END)) return { url, tenants };
    }
  } finally {
    clearTimeout(deadline);
    // Nobody reads on: what it prints later must not fill the pipe and stop it.
    server.stdout!.resume();
  }
  throw new Error("it ended, or took too long");
}

async function end(server: ChildProcess): Promise<void> {
  if (server.exitCode !== null || server.signalCode !== null) return;
  const ended = new Promise<void>((done) => server.once("exit", () => done()));
  server.kill("SIGTERM");
  const deadline = setTimeout(() => server.kill("SIGKILL"), STOP_MILLISECONDS_MAX);
  await ended;
  clearTimeout(deadline);
}
