import { RaakError } from "./errors";
import type { CustomerRef } from "./generated/graphql";

const EARLY_MS = 30_000;

export interface Session {
  token: string;
  customer: CustomerRef;
  expiresAt: number;
}

/** One token at a time, asked for anew before it expires. */
export class SessionSource {
  private current?: Promise<Session>;

  constructor(private readonly getToken: () => Promise<string>) {}

  async get(): Promise<Session> {
    const current = this.current;
    const session = await current?.catch(() => undefined);
    if (session && session.expiresAt - Date.now() > EARLY_MS) return session;
    if (current === this.current) this.current = this.ask();
    return this.current!;
  }

  /** Forget the token: the next request asks for another. */
  drop(): void {
    this.current = undefined;
  }

  private async ask(): Promise<Session> {
    let token: string;
    try {
      token = await this.getToken();
    } catch (error) {
      throw new RaakError("NO_TOKEN", `getToken failed: ${error}`, "Look at what your server answers.");
    }
    return readSession(token);
  }
}

/** Whom a token speaks for and until when, by its claims; the gateway checks its signature. Its life is counted from now
 * on, for the clock of a browser may be wrong by hours.
 */
function readSession(token: string): Session {
  try {
    const base64 = token.split(".")[1]!.replace(/-/g, "+").replace(/_/g, "/");
    const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
    const now = Date.now() / 1000;
    const { customer, exp, iat = now } = JSON.parse(new TextDecoder().decode(bytes));
    const { id, type, value } = customer;
    return { token, customer: id ? { id } : { identity: { type, value } }, expiresAt: (now + exp - iat) * 1000 };
  } catch {
    throw new RaakError("INVALID_TOKEN", "getToken gave no token of a customer.", "Have your server ask POST /tokens for one.");
  }
}
