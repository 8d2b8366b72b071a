import type { Header } from './engine.js';
import { MoteError } from './error.js';
import type { Judgement, Room } from './protocol.js';

/** Whether a model fits where there is only so much room, and if not, why. */
export function judge(header: Header, { context, memoryLimit = Infinity }: Room): Judgement {
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
export function unfit(error: unknown): Judgement {
  const { code, message } = MoteError.from(error);
  if (code !== 'memory') throw error;
  return { fits: false, reason: message };
}

function mib(bytes: number): string {
  return `${Math.ceil(bytes / 2 ** 20).toLocaleString('en')} MiB`;
}
