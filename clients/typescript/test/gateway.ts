import { type IncomingMessage, type ServerResponse, createServer } from "node:http";
import type { AddressInfo } from "node:net";

export interface Received {
  documentId?: string;
  query?: string;
  variables: any;
  token?: string;
  accept?: string;
}

export type Answer = (received: Received, response: ServerResponse) => void;

/** A real HTTP server that notes what it is sent, and gives one answer after the other, the last one again and again. */
export async function serveAnswers(...answers: Answer[]) {
  const received: Received[] = [];
  const server = createServer(async (request: IncomingMessage, response: ServerResponse) => {
    let body = "";
    for await (const part of request) body += part;
    const { authorization, accept } = request.headers;
    received.push({ ...JSON.parse(body), token: authorization?.replace("Bearer ", ""), accept });
    answers[Math.min(received.length, answers.length) - 1]!(received.at(-1)!, response);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const close = async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  };
  return { url, received, close };
}

export const json =
  (body: object, status = 200, headers: Record<string, string> = {}): Answer =>
  (_, response) => {
    response.writeHead(status, { "content-type": "application/json", ...headers });
    response.end(JSON.stringify(body));
  };

export const refusal = (code: string, status = 200, hint = "") =>
  json({ errors: [{ message: `It is ${code}.`, extensions: { code, hint } }] }, status);

export const events =
  (...results: object[]): Answer =>
  (_, response) => {
    response.writeHead(200, { "content-type": "text/event-stream" });
    for (const result of results) response.write(`event: next\ndata: ${JSON.stringify(result)}\n\n:\n\n`);
    response.end("event: complete\ndata:\n\n");
  };

/** A token as POST /tokens gives it, with a signature that nobody here checks. */
export function makeToken(
  customer: object = { type: "anonymous_id", value: "v-42" },
  lifetimeS = 900,
  iat = Date.now() / 1000,
): string {
  const claims = { customer, iat, exp: iat + lifetimeS };
  return `e30.${Buffer.from(JSON.stringify(claims)).toString("base64url")}.sig`;
}

/** A promise and what fulfils it. */
export function signal<T = void>() {
  let resolve!: (value: T) => void;
  const promise = new Promise<T>((give) => (resolve = give));
  return { promise, resolve };
}
