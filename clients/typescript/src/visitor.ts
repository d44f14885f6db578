const NAME = "raak_visitor";
const YEAR_S = 365 * 24 * 3600;

/** The id of this browser, made at its first visit; of this page only where storage is blocked. */
export function loadVisitorId(): string {
  return readLocal() ?? readCookie() ?? makeVisitorId();
}

/** Another id for this browser: who comes next is somebody else. */
export function makeVisitorId(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  const id = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  attempt(() => localStorage.setItem(NAME, id));
  attempt(() => {
    const secure = location.protocol === "https:" ? "; Secure" : "";
    document.cookie = `${NAME}=${id}; Path=/; Max-Age=${YEAR_S}; SameSite=Lax${secure}`;
  });
  return id;
}

const readLocal = () => attempt(() => localStorage.getItem(NAME));
const readCookie = () => attempt(() => document.cookie.match(`(?:^|; )${NAME}=([0-9a-f]{32})`)?.[1]);

function attempt<T>(access: () => T): T | undefined {
  try {
    return access();
  } catch {
    return undefined; // blocked by the browser, or not in one
  }
}
