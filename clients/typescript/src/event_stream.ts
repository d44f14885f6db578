import type { GraphQLError } from "./errors";

/** One response of a subscription. */
export interface StreamResult {
  data?: any;
  errors?: GraphQLError[];
}

/** The responses in a stream of server-sent events, until it completes or breaks off. */
export async function* readEvents(body: ReadableStream<Uint8Array>): AsyncGenerator<StreamResult> {
  const reader = body.pipeThrough(new TextDecoderStream() as TransformStream<Uint8Array, string>).getReader();
  let text = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const blocks = (text + value).split("\n\n");
      text = blocks.pop()!;
      for (const block of blocks) {
        const fields = Object.fromEntries(block.split("\n").map((line) => line.split(/: ?(.*)/s, 2)));
        if (fields.event === "complete") return;
        if (fields.event === "next") yield JSON.parse(fields.data);
      }
    }
  } catch {
    return; // broken off: who reads begins again
  } finally {
    reader.cancel().catch(() => {});
  }
}
