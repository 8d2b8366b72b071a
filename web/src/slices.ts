/** Slices of a thread's time: how much work fills one, and how to let others have their turn between two. */

/** How large a slice may be: where a person waits for the thread, and where nobody does. `together`: tokens of texts
 * that become vectors together; a longer text is read alone and as a whole. */
export const SLICES = { page: { ms: 10, tokens: 64, together: 1 }, worker: { ms: 40, tokens: 256, together: 256 } };
export type Slice = (typeof SLICES)['page'];

/** How much work fills a slice. It begins with little, and finds out; what it found out holds for the next text, too. */
export class Pace {
  /** Tokens that go through the layers together: up to a number, each is cheaper for it. */
  tokens: number;
  /** Layers of a slice. What is left of them is for the next slices, so few cost no speed. */
  layers = 1;

  constructor(
    private readonly slice: Slice,
    private readonly allLayers: number,
  ) {
    this.tokens = slice.tokens / 4;
  }

  took(ms: number): void {
    if (ms > this.slice.ms) {
      if (this.layers > 1) this.layers = Math.floor(this.layers / 2);
      else this.tokens = Math.max(8, this.tokens / 2);
    } else if (ms < this.slice.ms / 3) {
      if (this.tokens < this.slice.tokens) this.tokens *= 2;
      else this.layers = Math.min(this.allLayers, this.layers * 2);
    }
  }
}

/** Lets everything else that waits have its turn. Not a timer, since browsers hold those back to milliseconds. */
export function nextTurn(): Promise<void> {
  if (typeof setImmediate === 'function') return new Promise((resolve) => void setImmediate(resolve));
  return new Promise((resolve) => {
    turns.push(resolve);
    channel ??= openChannel();
    channel.postMessage(undefined);
  });
}

const turns: (() => void)[] = [];
let channel: MessagePort | undefined;

function openChannel(): MessagePort {
  const { port1, port2 } = new MessageChannel();
  port1.onmessage = () => turns.shift()?.();
  return port2;
}
