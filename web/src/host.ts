/**
 * The asking side. A host owns a worker, or an engine in its own thread, and sees to it that every promise settles:
 * with an answer, with the error of an aborted signal, or with the end of the worker.
 */
import { type Compiled, base, compile } from './builds.js';
import { MoteError, check, unlessAborted } from './error.js';
import type { Answer, Operation, Operations, Request } from './protocol.js';
import type { EngineOptions } from './types.js';
import script from './worker.js?text';

/** The service, wherever it is. */
interface Wire {
  readonly worker: boolean;
  send(request: Request, transfer?: ArrayBuffer[]): void;
  close(): void;
}

interface Waiting {
  resolve(value: unknown): void;
  reject(error: MoteError): void;
  onEvent?: (event: never, id: number) => void;
}

/** How to ask. */
interface Asking<O extends Operation> {
  signal?: AbortSignal | undefined;
  onEvent?: ((event: Operations[O]['event'], id: number) => void) | undefined;
}

export class Host {
  private readonly waiting = new Map<number, Waiting>();
  private lastId = 0;
  /** Why nothing can be asked any more. */
  private ended: MoteError | undefined;
  private wire!: Wire;
  private hold: (busy: boolean) => void = () => {};
  private readonly freed = new AbortController();

  private constructor(readonly engine: Omit<Compiled, 'module'>) {}

  /** Starts an engine. */
  static async start(options: EngineOptions, signal: AbortSignal | undefined): Promise<Host> {
    check(signal);
    const { module, ...engine } = await unlessAborted(compile(options), signal);
    const host = new Host(engine);
    try {
      host.wire = await unlessAborted(host.connect(options), signal);
      await host.ask('start', { ...engine, module }, { signal });
    } catch (error) {
      host.close(MoteError.from(error, 'environment'));
      throw host.ended;
    }
    return host;
  }

  get worker(): boolean {
    return this.wire.worker;
  }

  /** Whether nothing can be asked any more. */
  get closed(): boolean {
    return this.ended !== undefined;
  }

  /** Asks for one thing. */
  ask<O extends Operation>(op: O, ask: Operations[O]['ask'], { signal, onEvent }: Asking<O> = {}): Promise<Operations[O]['answer']> {
    if (this.ended) return Promise.reject(this.ended);
    if (signal?.aborted) return Promise.reject(MoteError.aborted(signal));
    const id = ++this.lastId;
    const aborted = () => {
      // The caller is free at once; the engine follows after the piece of work that it is doing.
      this.wire.send({ op: 'cancel', id });
      this.waiting.get(id)?.reject(MoteError.aborted(signal));
    };
    return new Promise<Operations[O]['answer']>((resolve, reject) => {
      this.waiting.set(id, { resolve: resolve as (value: unknown) => void, reject, ...(onEvent && { onEvent }) });
      signal?.addEventListener('abort', aborted);
      this.hold(true);
      this.wire.send({ op, id, ask } as Request);
    }).finally(() => {
      this.waiting.delete(id);
      if (this.waiting.size === 0) this.hold(false);
      signal?.removeEventListener('abort', aborted);
    });
  }

  /** Hands over a piece of a file that was asked for. */
  feed(piece: Extract<Request, { op: 'feed' }>): void {
    if (this.ended) return;
    this.wire.send(piece, piece.piece ? [piece.piece.buffer as ArrayBuffer] : []);
  }

  /** Ends the worker and with it everything that is still waiting. */
  close(why = new MoteError('unloaded', 'the model was unloaded')): void {
    if (this.ended) return;
    this.ended = why;
    this.freed.abort();
    (this.wire as Wire | undefined)?.close();
    for (const { reject } of [...this.waiting.values()]) reject(why);
  }

  private receive(answer: Answer): void {
    switch (answer.kind) {
      case 'value':
        return this.waiting.get(answer.id)?.resolve(answer.value);
      case 'event':
        return this.waiting.get(answer.id)?.onEvent?.(answer.event as never, answer.id);
      case 'error':
        return this.waiting.get(answer.id)?.reject(new MoteError(answer.code, answer.message));
      case 'crash':
        return this.crashed(answer.message);
    }
  }

  private crashed(message: string): void {
    this.close(new MoteError('crashed', message));
  }

  private async connect(options: EngineOptions): Promise<Wire> {
    if (options.worker === false) return this.inline();
    const worker = spawn(options);
    if (!worker) return this.inline();
    let settled = false;
    const hello = new Promise<string | undefined>((resolve, reject) => {
      const onAnswer = (answer: Answer) => (answer.kind === 'hello' ? resolve(answer.lock) : this.receive(answer));
      const onDeath = (message: string) => (settled ? this.crashed(message) : reject(new MoteError('environment', message)));
      worker.listen(onAnswer, onDeath);
    });
    try {
      this.watch(await hello);
    } catch (error) {
      worker.close();
      if (options.workerUrl !== undefined) throw error;
      // A page whose policy forbids `blob:` workers: in slices, then.
      return this.inline();
    } finally {
      settled = true;
    }
    this.hold = (busy) => worker.hold?.(busy);
    return { worker: true, send: (request, transfer) => worker.send(request, transfer), close: () => worker.close() };
  }

  /** A worker that dies without a word lets go of its lock. */
  private watch(lock: string | undefined): void {
    if (!lock) return;
    navigator.locks
      .request(lock, { signal: this.freed.signal }, () => this.crashed('the worker died'))
      .catch(() => {}); // unloaded before
  }

  private async inline(): Promise<Wire> {
    const { Service } = await import('./inline.js');
    const service = new Service((answer) => this.receive(answer), 'page');
    return { worker: false, send: (request) => void service.receive(request), close: () => service.close() };
  }
}

interface Spawned {
  send(request: Request, transfer?: ArrayBuffer[]): void;
  listen(onAnswer: (answer: Answer) => void, onDeath: (message: string) => void): void;
  close(): void;
  /** Whether the process should wait for it. */
  hold?(busy: boolean): void;
}

/** A worker of this platform's kind, or nothing where there is none. */
function spawn({ workerUrl }: EngineOptions): Spawned | undefined {
  if (typeof Worker === 'function') {
    const blob = workerUrl === undefined ? URL.createObjectURL(new Blob([script], { type: 'text/javascript' })) : undefined;
    // The script is a classic one; Deno, which has no such workers, takes it as a module.
    const type = 'Deno' in globalThis ? 'module' : 'classic';
    const worker = new Worker(blob ?? new URL(workerUrl!, base()), { name: 'motelm', type });
    return {
      send: (request, transfer = []) => worker.postMessage(request, transfer),
      listen(onAnswer, onDeath) {
        worker.onmessage = ({ data }: MessageEvent<Answer>) => {
          if (blob) URL.revokeObjectURL(blob);
          onAnswer(data);
        };
        worker.onerror = (event) => {
          event.preventDefault();
          onDeath(event.message || 'the worker could not start');
        };
      },
      close: () => worker.terminate(),
    };
  }
  // Found this way, bundlers do not look for it.
  const threads = globalThis.process?.getBuiltinModule?.('node:worker_threads');
  if (!threads) return undefined;
  const worker = workerUrl === undefined ? new threads.Worker(script, { eval: true }) : new threads.Worker(new URL(workerUrl));
  return {
    send: (request, transfer = []) => worker.postMessage(request, transfer),
    listen(onAnswer, onDeath) {
      worker.on('message', onAnswer);
      worker.on('error', (error: Error) => onDeath(error.message));
      worker.on('exit', () => onDeath('the worker ended'));
    },
    close: () => void worker.terminate(),
    hold: (busy) => (busy ? worker.ref() : worker.unref()),
  };
}
