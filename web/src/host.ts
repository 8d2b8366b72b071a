/**
 * The asking side. A host owns a worker, or an engine in its own thread, and sees to it that every promise settles:
 * with an answer, with the error of an aborted signal, or with the end of the worker.
 */
import { type Choice, choose, compile, compileTemplates, mayWiden } from './builds.js';
import { MoteError, check, unlessAborted } from './error.js';
import type { Answer, Operation, Operations, Request } from './protocol.js';
import { spawn } from './spawn.js';
import { Threads } from './threads.js';
import type { EngineOptions, Running } from './types.js';

/** The service, wherever it is. */
interface Wire {
  readonly worker: boolean;
  send(request: Request, transfer?: Transferable[]): void;
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
  transfer?: Transferable[];
}

export class Host {
  private readonly waiting = new Map<number, Waiting>();
  private lastId = 0;
  /** Why nothing can be asked any more. */
  private ended: MoteError | undefined;
  private wire!: Wire;
  private hold: (busy: boolean) => void = () => {};
  private readonly freed = new AbortController();
  private chosen!: Choice;
  private others: Threads | undefined;

  private constructor(private readonly options: EngineOptions) {}

  /** Starts an engine. */
  static async start(options: EngineOptions, signal: AbortSignal | undefined): Promise<Host> {
    check(signal);
    const host = new Host(options);
    try {
      host.compileEarly();
      host.wire = await unlessAborted(host.connect(options), signal);
      host.chosen = choose(options, host.worker);
      const compiled = await unlessAborted(compile(host.chosen, options), signal);
      await host.ask('start', compiled, { signal });
    } catch (error) {
      host.close(MoteError.from(error, 'environment'));
      // Some systems refuse a shared memory; unless this build was asked for, it goes without.
      if (host.chosen?.build === 'threads' && options.build === undefined && !signal?.aborted) return Host.start({ ...options, threads: 1 }, signal);
      throw host.ended;
    }
    return host;
  }

  /** Compiles, while the worker starts, what will most likely run in it. What goes wrong shows again when it is chosen. */
  private compileEarly(): void {
    try {
      compile(choose(this.options, this.options.worker !== false), this.options).catch(() => {});
    } catch {
      // There is nothing to choose.
    }
  }

  /** Brings the engine's other threads; settles when they work. */
  async bringThreads(): Promise<void> {
    const wanted = this.chosen.threads - 1;
    if (wanted === 0) return;
    this.others = new Threads(wanted, this.options, (lock) => this.watch(lock), (message) => this.crashed(`a thread: ${message}`));
    const { ports, come } = this.others;
    await this.ask('share', { ports }, { transfer: ports });
    await come;
  }

  get running(): Running {
    return { build: this.chosen.build, worker: this.worker, threads: 1 + (this.others?.count ?? 0) };
  }

  /** Whether an engine of 64-bit addresses may take over. */
  get mayWiden(): boolean {
    return mayWiden(this.options, this.worker);
  }

  get worker(): boolean {
    return this.wire.worker;
  }

  /** Whether nothing can be asked any more. */
  get closed(): boolean {
    return this.ended !== undefined;
  }

  /** Asks for one thing. */
  ask<O extends Operation>(op: O, ask: Operations[O]['ask'], { signal, onEvent, transfer }: Asking<O> = {}): Promise<Operations[O]['answer']> {
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
      this.wire.send({ op, id, ask } as Request, transfer);
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
    this.others?.close();
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
      case 'templates':
        return void this.bringTemplates();
      case 'lock':
        return this.watch(answer.lock);
      case 'crash':
        return this.crashed(answer.message);
    }
  }

  /** Sends the service what renders chat templates, or why that cannot be had. */
  private async bringTemplates(): Promise<void> {
    try {
      const module = await compileTemplates(this.options);
      if (!this.ended) this.wire.send({ op: 'templates', module });
    } catch (thrown) {
      const { code, message } = MoteError.from(thrown, 'environment');
      if (!this.ended) this.wire.send({ op: 'templates', error: { code, message } });
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
    const hello = new Promise<void>((resolve, reject) => {
      const onAnswer = (answer: Answer) => (answer.kind === 'hello' ? resolve() : this.receive(answer));
      const onDeath = (message: string) => (settled ? this.crashed(message) : reject(new MoteError('environment', message)));
      worker.listen(onAnswer, onDeath);
    });
    try {
      await hello;
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
