/** Bytes of streams. */

/** Bytes that are read at once: little beside a model, and much beside the cost of asking. */
export const PIECE = 1 << 20;

/**
 * Reads a stream a piece at a time. A piece is there until the next one is asked for: where the stream can do that, all
 * come in the same memory. Else each would be garbage, which is collected so late that a file would be there twice.
 */
export class Reading {
  private buffer = new ArrayBuffer(PIECE);
  private readonly reader: ReadableStreamBYOBReader | ReadableStreamDefaultReader<Uint8Array>;

  constructor(stream: ReadableStream<Uint8Array>) {
    let reader;
    try {
      reader = stream.getReader({ mode: 'byob' });
    } catch {
      reader = stream.getReader();
    }
    this.reader = reader;
  }

  /** The next bytes; nothing at the end. */
  async next(): Promise<Uint8Array | undefined> {
    const { done, value } = await this.reader.read(new Uint8Array(this.buffer));
    if (done) return undefined;
    this.buffer = value.buffer as ArrayBuffer;
    return value;
  }

  cancel(): Promise<void> {
    return this.reader.cancel();
  }
}

/** The bytes of a blob, in pieces that are there until the next one is asked for. */
export async function* bytesOf(blob: Blob): AsyncGenerator<Uint8Array, void, void> {
  const reading = new Reading(blob.stream());
  try {
    for (let bytes = await reading.next(); bytes; bytes = await reading.next()) yield bytes;
  } finally {
    await reading.cancel().catch(() => {});
  }
}
