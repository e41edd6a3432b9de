import { type APIRequestContext, type APIResponse, expect, request } from "@playwright/test";
import { randomUUID } from "node:crypto";

import { service, type Tenant } from "./service";

const API = "/api/v1";

/** Somebody who calls the HTTP API, with a token. */
export class Caller {
  private constructor(
    private readonly http: APIRequestContext,
    private readonly token: string,
  ) {}

  /** Sign in, as one of a tenant's people by what they are. */
  static async admin(title: string, tenant: Tenant = service().tenants.demo): Promise<Caller> {
    return Caller.signIn("/auth/login", tenant.people[title]);
  }

  static async signIn(path: string, body: object): Promise<Caller> {
    const http = await request.newContext({ baseURL: service().url });
    const answer = await http.post(API + path, { data: body });
    expect(answer.status(), await answer.text()).toBe(200);
    return new Caller(http, (await answer.json()).access_token);
  }

  async get(path: string): Promise<APIResponse> {
    return this.http.get(API + path, { headers: this.headers() });
  }

  async post(path: string, body: object, key?: string): Promise<APIResponse> {
    return this.http.post(API + path, { data: body, headers: this.headers(key) });
  }

  private headers(key?: string): Record<string, string> {
    return { Authorization: `Bearer ${this.token}`, ...(key ? { "Idempotency-Key": key } : {}) };
  }
}

/** A verified player of a spec's own, who has nothing yet. */
export class Player {
  private constructor(
    readonly id: string,
    readonly username: string,
    readonly email: string,
    private readonly caller: Caller,
  ) {}

  static async create({ username = `player-${randomUUID().slice(0, 8)}` } = {}): Promise<Player> {
    const tenant = service().tenants.demo;
    const admin = await Caller.admin("tenant admin");
    const email = `${randomUUID()}@e2e.example`;
    const password = randomUUID();
    const made = await admin.post("/players", { email, username, password, kyc_status: "verified" });
    expect(made.status(), await made.text()).toBe(201);
    const caller = await Caller.signIn("/auth/player/login", { tenant_id: tenant.id, email, password });
    return new Player((await made.json()).id, username, email, caller);
  }

  /** Pay in; amounts are decimal strings in US dollars. */
  async deposit(amount: string): Promise<void> {
    const answer = await this.caller.post("/player/wallet/deposit", { amount, method: "test_bank" }, randomUUID());
    expect(answer.status(), await answer.text()).toBe(201);
  }

  /** Ask for money; the withdrawal's id. */
  async withdraw(amount: string, { method = "test_bank", address = "DE02 1203 0000 0000 2020 51" } = {}): Promise<string> {
    const answer = await this.caller.post("/player/wallet/withdraw", { amount, method, address }, randomUUID());
    expect(answer.status(), await answer.text()).toBe(201);
    return (await answer.json()).transaction.id;
  }

  /** (available, held) as the player is told. */
  async balance(): Promise<[string, string]> {
    const answer = await this.caller.get("/player/wallet/balance");
    const document = await answer.json();
    return [document.available_real, document.held_real];
  }
}

/** A player with money who asks for some of it. */
export async function withdrawal(
  amount: string,
  { paidIn = "2000.00", method = "test_bank" } = {},
): Promise<{ player: Player; id: string }> {
  const player = await Player.create();
  await player.deposit(paidIn);
  return { player, id: await player.withdraw(amount, { method }) };
}
