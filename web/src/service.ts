/**
 * The answering side: it owns the engine and at most one model, in a worker or in the page's own thread.
 *
 * Long work is done in slices. Between two slices the mail is read, so that every request can be cancelled, and the page
 * stays alive when it shares its thread with the engine.
 */
import { Beginning } from './beginning.js';
import { Engine, Header, Loader, type Model, type Shared } from './engine.js';
import { MoteError, check, unlessAborted, within } from './error.js';
import { judge, unfit } from './fit.js';
import { Reporter } from './progress.js';
import type { Embedding, Fetching, Generating, LoadEvent, Operation, Operations, Portable, Prompt, Request, Room, Send } from './protocol.js';
import { Pace, SLICES, type Slice, nextTurn } from './slices.js';
import { type Opened, type Piece, type Room as Place, open } from './source.js';
import { Templates } from './templates.js';
import type { Embeddings, Info, Result } from './types.js';

/** How long a model that is loaded waits for what renders its chat template, in milliseconds. */
const PATIENCE = 2000;

/** A request that is being worked on. */
interface Task<Event> {
  id: number;
  signal: AbortSignal;
  tell(event: Event): void;
}

type Arrival = Extract<Request, { op: 'templates' }>;

type Handlers = { [O in Operation]: (ask: Operations[O]['ask'], task: Task<Operations[O]['event']>) => Promise<Operations[O]['answer']> | Operations[O]['answer'] };

export class Service {
  private engine: Engine | undefined;
  private model: Model | undefined;
  private readonly running = new Map<number, AbortController>();
  private readonly pumps = new Map<string, (piece: Piece) => void>();
  /** Work on the session, one after the other. */
  private turn: Promise<unknown> = Promise.resolve();
  /** What renders chat templates, from the moment when a model is known to have one. */
  private coming: Promise<Templates> | undefined;
  private templates: Templates | undefined;
  private arrived: ((arrival: Arrival) => void) | undefined;
  /** What the model takes, by its header. */
  private weights = 0;
  private tables = 0;
  private reading!: Pace;
  private writing!: Pace;
  private readonly slice: Slice;
  private ended = false;

  constructor(
    private readonly send: Send,
    where: keyof typeof SLICES,
  ) {
    this.slice = SLICES[where];
  }

  async receive(request: Request): Promise<void> {
    if (request.op === 'cancel') return this.running.get(request.id)?.abort();
    if (request.op === 'templates') return this.arrived?.(request);
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
    start: (compiled) => {
      this.engine = Engine.start(compiled);
    },
    share: ({ ports }) => ports.forEach((port) => port.postMessage(this.started.shared)),
    help: async ({ port }, { tell }) => {
      const shared = await new Promise<Shared>((arrived) => (port.onmessage = ({ data }) => arrived(data)));
      Engine.help(shared, () => tell('came'));
    },
    load: async ({ files, fetching, room }, task) => {
      // Of a split model, all headers must be known before any weights are read. What is pumped comes only once.
      if (files.length > 1 && files.every(({ kind }) => kind !== 'pump')) {
        const header = await this.header(files, fetching, task);
        this.weigh(header, room);
      }
      this.model = await this.load(files, fetching, room, task);
      this.reading = new Pace(this.slice, this.model.info.layers);
      this.writing = new Pace(this.slice, this.model.info.layers);
      // Of a split model out of streams, no header was seen beforehand.
      this.weights ||= this.model.info.bytes;
      if (chats(this.model.info)) await unlessAborted(this.awaitTemplates(), task.signal);
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
    generate: async ({ prompt, options }, task) => {
      await this.ready(prompt, task.signal);
      return this.alone(() => this.generate(prompt, options, task), task.signal);
    },
    tokenize: ({ text }) => this.loaded.tokenize(text),
    detokenize: ({ tokens }) => this.loaded.detokenize(tokens),
    count: async ({ prompt }, { signal }) => {
      await this.ready(prompt, signal);
      return this.loaded.tokens(prompt, this.templates).length;
    },
    embed: (ask, { signal }) => this.alone(() => this.embed(ask, signal), signal),
    memory: ({ context }) => {
      const session = this.loaded.sessionBytes(context ?? this.loaded.info.context!);
      return { weights: this.weights, tables: this.tables, session, total: this.weights + this.tables + session };
    },
    held: () => this.started.bytes + (this.templates?.bytes ?? 0),
    save: (_, { signal }) => this.alone(() => this.loaded.save(), signal),
    restore: ({ state }, { signal }) => this.alone(() => this.loaded.restore(state), signal),
  };

  private async generate(prompt: Prompt, options: Generating, { signal, tell }: Task<string>): Promise<Omit<Result, 'text'>> {
    const model = this.loaded;
    const began = performance.now();
    const tokens = model.tokens(prompt, this.templates);
    const reusedTokens = model.start(tokens, options);
    let completionTokens = 0;
    let first: number | undefined;
    try {
      for (;;) {
        // A prompt's tokens go through a layer together, new ones alone.
        const pace = first === undefined ? this.reading : this.writing;
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

  /** A slice is a batch of texts: in a worker many short ones together, on a page's thread one. */
  private async embed(ask: Embedding, signal: AbortSignal): Promise<Embeddings> {
    const model = this.loaded;
    const texts = model.take(ask, this.slice.together);
    const vectors: Float32Array[] = [];
    for (;;) {
      await nextTurn();
      check(signal);
      const made = model.vectors();
      if (!made) return { vectors, texts };
      vectors.push(...made);
    }
  }

  private async load(files: Portable[], fetching: Fetching, room: Room, task: Task<LoadEvent>): Promise<Model> {
    let loader: Loader | undefined;
    const opened = await this.open(files, fetching, task, (most) => loader?.room(most));
    const progress = new Reporter((progress) => task.tell({ progress }), opened);
    // Where the bytes of a stream of unknown length belong is only known at its end.
    const unplaced: Uint8Array[] = [];
    const sizes = opened.map(({ size }) => size);
    const beginning = new Beginning(undefined);
    let turned = performance.now();
    try {
      if (known(sizes)) loader = new Loader(sizes);
      for (const [index, { pieces }] of opened.entries()) {
        let bytesOfFile = 0;
        for await (const { bytes, phase } of pieces) {
          check(task.signal);
          bytesOfFile += bytes.length;
          progress.add(bytes.length, phase);
          if (loader) {
            loader.push(bytes);
            const header = loader.header();
            if (header) this.weigh(header, room);
          } else {
            unplaced.push(bytes.slice());
            if (sizes.length === 1 && beginning.push(bytes)) {
              this.weigh(beginning.header(), room);
              progress.expect(beginning.size);
            }
          }
          // What is kept is there at once; everything else comes while others have their turn.
          if (phase === 'cache' && performance.now() - turned < this.slice.ms) continue;
          await nextTurn();
          turned = performance.now();
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
      const { info, memory, fits, reason } = judge(header, room);
      if (!fits) throw new MoteError('memory', reason!);
      ({ weights: this.weights, tables: this.tables } = memory!);
      if (chats(info!)) this.bringTemplates().catch(() => {});
    } finally {
      header.free();
    }
  }

  /** Asks the host for the module of chat templates, unless it is here or on its way. */
  private bringTemplates(): Promise<Templates> {
    if (!this.coming) {
      const arrival = new Promise<Arrival>((arrived) => (this.arrived = arrived));
      this.send({ kind: 'templates' });
      this.coming = arrival.then((arrival) => {
        if ('error' in arrival) throw new MoteError(arrival.error.code, arrival.error.message);
        return (this.templates = Templates.start(arrival.module));
      });
      this.coming.catch(() => (this.coming = undefined)); // Whoever needs it next asks anew.
    }
    return this.coming;
  }

  /** Whoever has a model can chat, also when the network goes; without templates, it can do everything else. */
  private async awaitTemplates(): Promise<void> {
    await within(PATIENCE, 'whoever serves the templates', this.bringTemplates()).catch(() => {});
  }

  /** Waits for what `prompt` needs beside the model. */
  private async ready(prompt: Prompt, signal: AbortSignal): Promise<void> {
    if (!this.templates && this.loaded.templated(prompt)) await unlessAborted(this.bringTemplates(), signal);
  }

  /** The headers of files, reading little more than them. */
  private async header(files: Portable[], fetching: Fetching, task: Task<LoadEvent>): Promise<Header> {
    const opened = await this.open(files, fetching, task, 'header');
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

  /** Opens files to read all of them, to where there is room, or only their headers. */
  private async open(files: Portable[], fetching: Fetching, task: Task<LoadEvent>, what: Place | 'header'): Promise<Opened[]> {
    const opened: Opened[] = [];
    const how = what === 'header' ? { headerOnly: true } : { room: what };
    try {
      for (const index of inOrder(files)) {
        opened[index] = await open(files[index]!, { ...fetching, ...how, signal: task.signal, pull: () => this.pull(task, index) });
      }
    } catch (error) {
      await close(opened.filter(Boolean));
      throw error;
    }
    return opened;
  }

  /** The next piece of a file that only the host can read. */
  private pull(task: Task<LoadEvent>, file: number): Promise<Piece> {
    const piece = new Promise<Piece>((arrived) => this.pumps.set(`${task.id} ${file}`, arrived));
    task.tell({ pull: file });
    return unlessAborted(piece, task.signal);
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

/** The places of files, by their addresses: who loads several keeps others from them one after the other, and two who did that in
 * different orders would wait for each other. */
function inOrder(files: Portable[]): number[] {
  const url = (index: number) => (files[index] as Extract<Portable, { kind: 'url' }>).url ?? '';
  const order = [...files.keys()].sort((a, b) => (url(a) < url(b) ? -1 : 1));
  const twice = order.find((index, i) => i > 0 && url(index) !== '' && url(index) === url(order[i - 1]!));
  if (twice !== undefined) throw new MoteError('argument', `${url(twice)} is given twice`);
  return order;
}

async function close(files: Opened[]): Promise<void> {
  await Promise.all(files.map(({ pieces }) => pieces.return(undefined)));
}

/** Whether a model answers conversations: some that make vectors have a template, too. */
function chats({ chat, embedding }: Info): boolean {
  return chat && !embedding;
}

function known(sizes: (number | undefined)[]): sizes is number[] {
  return sizes.every((size) => size !== undefined);
}
