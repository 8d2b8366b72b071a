/**
 * Chat templates as the service sees them: a module of its own beside the engine's, for models that have a template.
 * This file alone knows its bindings.
 */
import { initSync, render } from '../wasm/chat/motelm_wasm_chat.js';
import { MoteError } from './error.js';
import type { Templating } from './protocol.js';
import type { Message } from './types.js';

/** What a template needs to know of its model. */
export interface Source {
  template: string;
  bos: string;
  eos: string;
  /** Marks the names of control tokens that users or tools wrote. */
  guard(text: string): string;
}

/** The module. Nothing in it is a model's: one serves all models of a thread. */
export class Templates {
  private constructor(private readonly memory: WebAssembly.Memory) {}

  static start(module: WebAssembly.Module): Templates {
    return new Templates(initSync({ module }).memory);
  }

  /** Bytes that the module holds. */
  get bytes(): number {
    return this.memory.buffer.byteLength;
  }

  /** The text that a model is to continue. */
  render(messages: Message[], { tools, variables }: Templating, { template, bos, eos, guard }: Source): string {
    const options = JSON.stringify({ tools, variables, bos, eos, now: localTime() });
    try {
      return render(template, JSON.stringify(messages), options, guard);
    } catch (error) {
      throw MoteError.from(error, 'argument');
    }
  }
}

/** For templates that ask for the date. */
function localTime(): string {
  const now = new Date();
  return new Date(now.getTime() - now.getTimezoneOffset() * 60_000).toISOString().slice(0, 19);
}
