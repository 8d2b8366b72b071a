import { MoteError } from './error.js';
import type { Result } from './types.js';

/** Work whose text is told piece by piece. */
type Work = (tell: (piece: string) => void, signal: AbortSignal) => Promise<Omit<Result, 'text'>>;

/**
 * A text on its way. Loop over its pieces, or await `text()` or `result`; all of them work, together too.
 * Leaving a loop early stops the model.
 */
export class Generation implements AsyncIterable<string> {
  /** The whole text, why it ended, and what it took. */
  readonly result: Promise<Result>;
  private readonly pieces: string[] = [];
  private readonly stopping = new AbortController();
  private readonly ended: Promise<void>;
  private wake: () => void = () => {};
  private arrival = this.nextArrival();

  constructor(work: Work, signal: AbortSignal | undefined) {
    const both = signal ? AbortSignal.any([signal, this.stopping.signal]) : this.stopping.signal;
    const tell = (piece: string) => {
      this.pieces.push(piece);
      this.wake();
      this.arrival = this.nextArrival();
    };
    this.result = work(tell, both).then((rest) => ({ ...rest, text: this.pieces.join('') }));
    // Whoever asks for the result or loops hears of an error; nobody must.
    this.ended = this.result.then(
      () => {},
      () => {},
    );
  }

  /** The whole text. */
  async text(): Promise<string> {
    return (await this.result).text;
  }

  /** Stops the model. Loops end, and `result` fails with `aborted`. */
  stop(): void {
    this.stopping.abort();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<string, void, void> {
    let open = true;
    void this.ended.then(() => (open = false));
    try {
      for (let at = 0; ; ) {
        while (at < this.pieces.length) yield this.pieces[at++]!;
        if (!open) break;
        await Promise.race([this.arrival, this.ended]);
      }
    } finally {
      if (open) this.stop();
    }
    try {
      await this.result;
    } catch (error) {
      // A loop that was stopped on purpose just ends.
      if (!(this.stopping.signal.aborted && (error as MoteError).code === 'aborted')) throw error;
    }
  }

  private nextArrival(): Promise<void> {
    return new Promise((resolve) => (this.wake = resolve));
  }
}
