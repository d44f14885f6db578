/** What the gateway refused, or why it could not be reached. `docs/errors.md` lists the codes. */
export class RaakError extends Error {
  override readonly name = "RaakError";

  constructor(
    /** The stable name of what went wrong, such as `FORBIDDEN`; `UNREACHABLE` if nothing answered. */
    readonly code: string,
    message: string,
    /** What to do about it. */
    readonly hint = "",
  ) {
    super(message);
  }
}

export interface GraphQLError {
  message: string;
  extensions?: { code?: string; hint?: string };
}

export function toRaakError({ message, extensions }: GraphQLError): RaakError {
  return new RaakError(extensions?.code ?? "UNKNOWN", message, extensions?.hint);
}
