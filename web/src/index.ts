/**
 * MoteLM in a web page.
 *
 * ```ts
 * const model = await Model.load('tales-2M-Q8_0.gguf');
 * for await (const text of model.generate('Once upon a time', { temperature: 0.6, topK: 40 })) page.append(text);
 * ```
 */
import type { Answer, GenerateOptions, Info, LoadOptions, Request, Source } from './protocol.js';

export type { GenerateOptions, Info, LoadOptions, Source } from './protocol.js';

/** Reads what a model file says about itself, and checks that it is whole. */
export async function probe(source: Source | URL): Promise<Info> {
  const host = new Host();
  try {
    return (await host.ask({ kind: 'probe', source: absolute(source) })) as Info;
  } finally {
    host.close();
  }
}

/** A language model that runs in a worker of its own. */
export class Model {
  private constructor(
    private readonly host: Host,
    /** What its file says about it. */
    readonly info: Info,
  ) {}

  /**
   * Loads a GGUF model from a URL or from bytes.
   *
   * Fails with an `Error` that says what is wrong with the file; its `name` is the kind (`Malformed`, `Unsupported`, ...).
   */
  static async load(source: Source | URL, { context = 0 }: LoadOptions = {}): Promise<Model> {
    const host = new Host();
    try {
      const info = (await host.ask({ kind: 'load', source: absolute(source), context })) as Info;
      return new Model(host, info);
    } catch (error) {
      host.close();
      throw error;
    }
  }

  /** The ids of `text`'s tokens, with the ones the model wants at the beginning or end. */
  async tokenize(text: string): Promise<Uint32Array> {
    return (await this.host.ask({ kind: 'tokenize', text })) as Uint32Array;
  }

  /** The text of tokens. */
  async detokenize(tokens: Uint32Array): Promise<string> {
    return (await this.host.ask({ kind: 'detokenize', tokens })) as string;
  }

  /** Continues `prompt`, piece by piece. Leaving the loop stops the model. */
  generate(prompt: string, options: GenerateOptions = {}): AsyncGenerator<string, void, void> {
    const seed = options.seed ?? Math.floor(Math.random() * 2 ** 32);
    return this.host.stream({ kind: 'generate', prompt, options: { ...options, seed } });
  }

  /** Ends the worker and gives its memory back. */
  close(): void {
    this.host.close();
  }
}

type Ask = Request extends infer R ? (R extends { id: number } ? Omit<R, 'id'> : never) : never;

/** The page's side of a worker. */
class Host {
  private readonly worker = new Worker(new URL('./worker.js', import.meta.url), { type: 'module' });
  private readonly waiting = new Map<number, (answer: Answer) => void>();
  private lastId = 0;

  constructor() {
    this.worker.onmessage = ({ data }: MessageEvent<Answer>) => this.waiting.get(data.id)?.(data);
    this.worker.onerror = (event) => this.fail(event.message || 'the worker could not start');
  }

  /** Asks for one thing. */
  async ask(ask: Ask): Promise<unknown> {
    const id = this.send(ask);
    try {
      const answer = await new Promise<Answer>((resolve) => this.waiting.set(id, resolve));
      if (answer.kind === 'error') throw failure(answer);
      return answer.kind === 'done' ? answer.value : undefined;
    } finally {
      this.waiting.delete(id);
    }
  }

  /** Asks for text, which keeps coming. */
  async *stream(ask: Ask): AsyncGenerator<string, void, void> {
    const arrived: Answer[] = [];
    let wake = () => {};
    const id = this.send(ask);
    this.waiting.set(id, (answer) => {
      arrived.push(answer);
      wake();
    });
    let running = true;
    try {
      for (;;) {
        const answer = arrived.shift();
        if (!answer) {
          await new Promise<void>((resolve) => (wake = resolve));
          continue;
        }
        running = answer.kind === 'text';
        if (answer.kind === 'error') throw failure(answer);
        if (answer.kind === 'done') return;
        yield answer.text;
      }
    } finally {
      this.waiting.delete(id);
      if (running) this.worker.postMessage({ kind: 'cancel', id } satisfies Request);
    }
  }

  close(): void {
    this.worker.terminate();
    this.fail('the model was closed');
  }

  private send(ask: Ask): number {
    const id = ++this.lastId;
    this.worker.postMessage({ ...ask, id });
    return id;
  }

  private fail(message: string): void {
    for (const [id, settle] of this.waiting) settle({ kind: 'error', id, name: 'Error', message });
  }
}

function failure({ name, message }: { name: string; message: string }): Error {
  return Object.assign(new Error(message), { name });
}

/** A worker would resolve a relative address against its own. */
function absolute(source: Source | URL): Source {
  return source instanceof Uint8Array ? source : new URL(source, location.href).href;
}
