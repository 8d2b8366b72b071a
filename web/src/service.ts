/**
 * The answering side: it owns the engine and at most one model, in a worker or in the page's own thread.
 *
 * Long work is done in slices. Between two slices the mail is read, so that every request can be cancelled, and the page
 * stays alive when it shares its thread with the engine.
 */
import { Engine, Header, Loader, type Model } from './engine.js';
import { MoteError, check } from './error.js';
import type { Fetching, Generating, LoadEvent, Operation, Operations, Portable, Prompt, Request, Room, Send } from './protocol.js';
import { type Opened, type Piece, open, progressOf } from './source.js';
import type { Plan, Progress, Result } from './types.js';

/** How large a slice may be: where a person waits for the thread, and where nobody does. */
const SLICE = { page: { ms: 10, tokens: 64 }, worker: { ms: 40, tokens: 256 } };
type Slice = (typeof SLICE)['page'];

/** A request that is being worked on. */
interface Task<Event> {
  id: number;
  signal: AbortSignal;
  tell(event: Event): void;
}

type Handlers = { [O in Operation]: (ask: Operations[O]['ask'], task: Task<Operations[O]['event']>) => Promise<Operations[O]['answer']> | Operations[O]['answer'] };

export class Service {
  private engine: Engine | undefined;
  private model: Model | undefined;
  private readonly running = new Map<number, AbortController>();
  private readonly pumps = new Map<string, (piece: Piece) => void>();
  /** Work on the session, one after the other. */
  private turn: Promise<unknown> = Promise.resolve();
  /** What the model takes, by its header. */
  private weights = 0;
  private tables = 0;
  private readonly slice: Slice;
  private ended = false;

  constructor(
    private readonly send: Send,
    where: keyof typeof SLICE,
  ) {
    this.slice = SLICE[where];
  }

  async receive(request: Request): Promise<void> {
    if (request.op === 'cancel') return this.running.get(request.id)?.abort();
    if (request.op === 'feed') {
      const key = `${request.id} ${request.file}`;
      const { piece, error } = request;
      this.pumps.get(key)?.({ ...(piece && { bytes: piece }), ...(error !== undefined && { error }) });
      this.pumps.delete(key);
      return;
    }
    const { id, op, ask } = request;
    const abort = new AbortController();
    this.running.set(id, abort);
    const tell = (event: unknown) => this.send({ kind: 'event', id, event });
    try {
      const handler = this.handlers[op] as (ask: unknown, task: unknown) => unknown;
      const value = await handler(ask, { signal: abort.signal, tell, id });
      this.send({ kind: 'value', id, value });
    } catch (thrown) {
      const error = MoteError.from(thrown);
      if (error.code === 'crashed') this.ended = true;
      const { code, message } = error;
      this.send(code === 'crashed' ? { kind: 'crash', message } : { kind: 'error', id, code, message });
    } finally {
      this.running.delete(id);
    }
  }

  /** Frees the model. In a worker, ending the worker does it. */
  close(): void {
    this.ended = true;
    this.running.forEach((abort) => abort.abort());
    void this.turn.catch(() => {}).then(() => this.model?.free());
  }

  private readonly handlers: Handlers = {
    start: async (compiled) => {
      this.engine = await Engine.start(compiled);
    },
    load: async ({ files, fetching, room }, task) => {
      // Of a split model, all headers must be known before any weights are read. What is pumped comes only once.
      if (files.length > 1 && files.every(({ kind }) => kind !== 'pump')) {
        const header = await this.header(files, fetching, task);
        this.weigh(header, room);
      }
      this.model = await this.load(files, fetching, room, task);
      return this.model.info;
    },
    inspect: async ({ files, fetching }, task) => {
      const header = await this.header(files, fetching, task);
      try {
        return header.inspect();
      } finally {
        header.free();
      }
    },
    plan: async ({ files, fetching, room }, task) => {
      let header;
      try {
        header = await this.header(files, fetching, task);
        return judge(header, room);
      } catch (error) {
        return unfit(error);
      } finally {
        header?.free();
      }
    },
    generate: ({ prompt, options }, task) => this.alone(() => this.generate(prompt, options, task), task.signal),
    tokenize: ({ text }) => this.loaded.tokenize(text),
    detokenize: ({ tokens }) => this.loaded.detokenize(tokens),
    count: ({ prompt }) => this.loaded.tokens(prompt).length,
    embed: ({ texts }, { signal }) =>
      this.alone(async () => {
        const vectors = [];
        for (const text of texts) {
          await nextTurn();
          check(signal);
          vectors.push(this.loaded.embed(text));
        }
        return vectors;
      }, signal),
    memory: ({ context }) => {
      const session = this.loaded.sessionBytes(context ?? this.loaded.info.context!);
      return { weights: this.weights, tables: this.tables, session, total: this.weights + this.tables + session };
    },
    held: () => this.started.bytes,
    save: (_, { signal }) => this.alone(() => this.loaded.save(), signal),
    restore: ({ state }, { signal }) => this.alone(() => this.loaded.restore(state), signal),
  };

  private async generate(prompt: Prompt, options: Generating, { signal, tell }: Task<string>): Promise<Omit<Result, 'text'>> {
    const model = this.loaded;
    const began = performance.now();
    const tokens = model.tokens(prompt);
    const reusedTokens = model.start(tokens, options);
    const pace = new Pace(this.slice, model.info.layers);
    let completionTokens = 0;
    let first: number | undefined;
    try {
      for (;;) {
        const before = performance.now();
        const step = model.step(pace.tokens, pace.layers);
        const now = performance.now();
        pace.took(now - before);
        if (step.kind !== 'working') {
          first ??= now;
          if (step.kind === 'token') completionTokens += 1;
          if (step.text) tell(step.text);
        }
        if (step.kind === 'done') {
          const completionMs = now - first!;
          const tokensPerSecond = completionTokens > 1 ? ((completionTokens - 1) * 1000) / Math.max(completionMs, 0.001) : 0;
          return {
            stopReason: step.stopReason,
            usage: { promptTokens: tokens.length, reusedTokens, completionTokens },
            timings: { promptMs: first! - began, completionMs, tokensPerSecond },
          };
        }
        await nextTurn();
        check(signal);
      }
    } finally {
      model.cancel();
    }
  }

  private async load(files: Portable[], fetching: Fetching, room: Room, task: Task<LoadEvent>): Promise<Model> {
    const opened = await this.open(files, fetching, task, false);
    const progress = new Reporter((progress) => task.tell({ progress }), opened);
    let loader: Loader | undefined;
    // Where the bytes of a stream of unknown length belong is only known at its end.
    const unplaced: Uint8Array[] = [];
    const sizes = opened.map(({ size }) => size);
    const beginning = new Beginning(sizes.length === 1 ? sizes[0] : 0);
    try {
      if (known(sizes)) loader = new Loader(sizes);
      for (const [index, { pieces }] of opened.entries()) {
        let bytesOfFile = 0;
        for await (const { bytes, phase } of pieces) {
          check(task.signal);
          bytesOfFile += bytes.length;
          if (sizes.length === 1 && beginning.push(bytes)) {
            this.weigh(beginning.header(), room);
            progress.expect(beginning.size);
          }
          if (loader) loader.push(bytes);
          else unplaced.push(bytes);
          progress.add(bytes.length, phase);
          await nextTurn();
        }
        sizes[index] ??= bytesOfFile;
      }
      loader ??= new Loader(sizes as number[]);
      for (let bytes = unplaced.shift(); bytes; bytes = unplaced.shift()) loader.push(bytes);
      // Reading a large vocabulary takes a moment; whoever waits for this thread goes first.
      await nextTurn();
      check(task.signal);
      const finished = loader;
      loader = undefined;
      const model = finished.finish(room.context);
      progress.ready();
      return model;
    } finally {
      loader?.free();
      await close(opened);
    }
  }

  /** Refuses a model that does not fit, before its weights are read. */
  private weigh(header: Header, room: Room): void {
    try {
      const { memory, fits, reason } = judge(header, room);
      if (!fits) throw new MoteError('memory', reason!);
      ({ weights: this.weights, tables: this.tables } = memory!);
    } finally {
      header.free();
    }
  }

  /** The headers of files, reading little more than them. */
  private async header(files: Portable[], fetching: Fetching, task: Task<LoadEvent>): Promise<Header> {
    const opened = await this.open(files, fetching, task, true);
    try {
      const starts: Uint8Array[] = [];
      const sizes: number[] = [];
      for (const { size, pieces } of opened) {
        const beginning = new Beginning(size);
        for await (const { bytes } of pieces) {
          check(task.signal);
          if (beginning.push(bytes)) break;
        }
        starts.push(beginning.bytes);
        sizes.push(beginning.size);
      }
      return Header.read(starts, sizes);
    } finally {
      await close(opened);
    }
  }

  private async open(files: Portable[], fetching: Fetching, task: Task<LoadEvent>, headerOnly: boolean): Promise<Opened[]> {
    const opened: Opened[] = [];
    try {
      for (const [index, file] of files.entries()) {
        opened.push(await open(file, { ...fetching, signal: task.signal, headerOnly, pull: () => this.pull(task, index) }));
      }
    } catch (error) {
      await close(opened);
      throw error;
    }
    return opened;
  }

  /** The next piece of a file that only the host can read. */
  private pull(task: Task<LoadEvent>, file: number): Promise<Piece> {
    return new Promise((resolve, reject) => {
      this.pumps.set(`${task.id} ${file}`, resolve);
      task.signal.addEventListener('abort', () => reject(MoteError.aborted(task.signal)), { once: true });
      task.tell({ pull: file });
    });
  }

  /** One after the other: a model works on one text at a time. */
  private alone<T>(work: () => Promise<T> | T, signal: AbortSignal): Promise<T> {
    const turn = this.turn.then(() => {
      check(signal);
      if (this.ended) throw new MoteError('unloaded', 'the model was unloaded');
      return work();
    });
    this.turn = turn.catch(() => {});
    return turn;
  }

  private get started(): Engine {
    if (!this.engine) throw new MoteError('argument', 'the engine was not started');
    return this.engine;
  }

  private get loaded(): Model {
    if (!this.model) throw new MoteError('argument', 'no model is loaded');
    return this.model;
  }
}

async function close(files: Opened[]): Promise<void> {
  await Promise.all(files.map(({ pieces }) => pieces.return(undefined)));
}

function known(sizes: (number | undefined)[]): sizes is number[] {
  return sizes.every((size) => size !== undefined);
}

/** How much work fills a slice. It begins with little, and finds out. */
class Pace {
  /** Tokens that go through the layers together: up to a number, each is cheaper for it. */
  tokens = 16;
  /** Layers of a slice. What is left of them is for the next slices, so few cost no speed. */
  layers = 1;

  constructor(
    private readonly slice: Slice,
    private readonly allLayers: number,
  ) {}

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

/** What a 32-bit module can hold. */
const LARGEST = 2 ** 32 - 1;

/** The first bytes of a file, until they hold its header. */
class Beginning {
  private pieces: Uint8Array[] = [];
  private length = 0;
  private look = 1 << 16;
  private complete = false;

  /** Of a file of `size` bytes; of unknown size, it is first assumed to be as large as one can be. */
  constructor(private expected: number | undefined) {}

  /** Bytes of the file; if they are not known, what the header tells of them. */
  get size(): number {
    return (this.expected ??= this.told());
  }

  /** Takes the next bytes; `true` once, when the header is complete. */
  push(bytes: Uint8Array): boolean {
    if (this.complete) return false;
    this.pieces.push(bytes);
    this.length += bytes.length;
    const size = this.expected ?? LARGEST;
    if (this.length < Math.min(this.look, size)) return false;
    this.look = this.length * 1.5;
    this.complete = Header.complete(this.bytes, size);
    return this.complete;
  }

  private told(): number {
    const header = Header.read([this.bytes], [LARGEST]);
    const padded = header.inspect().tensors.map(({ bytes }) => Math.ceil(bytes / 32) * 32);
    header.free();
    return this.length + padded.reduce((a, b) => a + b, 0);
  }

  get bytes(): Uint8Array {
    const joined = new Uint8Array(this.length);
    let at = 0;
    for (const piece of this.pieces) {
      joined.set(piece, at);
      at += piece.length;
    }
    this.pieces = [joined];
    return joined;
  }

  header(): Header {
    const header = Header.read([this.bytes], [this.size]);
    this.pieces = [];
    return header;
  }
}

/** Adds up what arrives, and says so often enough to draw and seldom enough to cost nothing. */
class Reporter {
  private loaded = 0;
  private last = -Infinity;
  private total: number | undefined;

  constructor(
    private readonly tell: (progress: Progress) => void,
    files: Opened[],
  ) {
    const sizes = files.map(({ size }) => size);
    if (known(sizes)) this.total = sizes.reduce((a, b) => a + b);
  }

  /** What the header says, where nobody else did. */
  expect(total: number): void {
    this.total ??= total;
  }

  add(bytes: number, phase: Progress['phase']): void {
    this.loaded += bytes;
    const now = performance.now();
    if (now - this.last < 50) return;
    this.last = now;
    this.say(phase);
  }

  ready(): void {
    this.total = this.loaded;
    this.say('ready');
  }

  private say(phase: Progress['phase']): void {
    this.tell(progressOf(phase, this.loaded, this.total));
  }
}

function judge(header: Header, { context, memoryLimit = Infinity }: Room): Plan {
  const { info } = header;
  let memory;
  try {
    memory = header.memory(context);
  } catch (error) {
    return { info, ...unfit(error) };
  }
  if (memory.total <= memoryLimit) return { info, memory, fits: true };
  const reason = `it takes ${mib(memory.total)}, ${mib(memory.weights)} of them weights, and may take ${mib(memoryLimit)}; a shorter context or a smaller quantisation may fit`;
  return { info, memory, fits: false, reason };
}

/** What an error says about memory; others are thrown on. */
function unfit(error: unknown): Plan {
  const { code, message } = MoteError.from(error);
  if (code !== 'memory') throw error;
  return { fits: false, reason: message };
}

function mib(bytes: number): string {
  return `${Math.ceil(bytes / 2 ** 20).toLocaleString('en')} MiB`;
}

/** Lets everything else that waits have its turn. Not a timer, since browsers hold those back to milliseconds. */
function nextTurn(): Promise<void> {
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
