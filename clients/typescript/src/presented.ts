import type { Raak } from "./client";

const SECOND_MS = 1_000;
const HALF = 0.5;

/** Report PRESENTED once half of an element was visible for a second on end, in a tab that is looked at.

    Of an element larger than the window, half the window counts. Gives what ends it.
 */
export function observePresented(raak: Pick<Raak, "recordOutcome">, element: Element, proposition: { id: string }): () => void {
  let timer: ReturnType<typeof setTimeout> | undefined;
  let isInView = false;

  const observer = new IntersectionObserver(
    (entries) => {
      const { intersectionRatio, intersectionRect, rootBounds } = entries.at(-1)!;
      isInView = intersectionRatio >= HALF || intersectionRect.height >= HALF * (rootBounds?.height ?? Infinity);
      update();
    },
    { threshold: [0, 0.1, 0.25, HALF] },
  );

  function update(): void {
    if (!isInView || document.hidden) {
      clearTimeout(timer);
      timer = undefined;
    } else {
      timer ??= setTimeout(report, SECOND_MS);
    }
  }

  function report(): void {
    end();
    raak.recordOutcome(proposition, "PRESENTED").catch(() => {}); // a page works without it
  }

  function end(): void {
    clearTimeout(timer);
    observer.disconnect();
    document.removeEventListener("visibilitychange", update);
  }

  observer.observe(element);
  document.addEventListener("visibilitychange", update);
  return end;
}
