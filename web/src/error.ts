/** What went wrong, for programs. */
export type MoteErrorCode =
  /** An AbortSignal, or leaving the loop, ended it. */
  | 'aborted'
  /** The model was unloaded. */
  | 'unloaded'
  /** The worker died or the engine trapped; load again. */
  | 'crashed'
  /** It does not fit into memory; nothing was loaded. */
  | 'memory'
  /** The browser's storage has no room for it. */
  | 'quota'
  /** The file is being read, in another tab perhaps, and cannot be deleted now. */
  | 'busy'
  /** The server could not be reached, or answered with an error. */
  | 'network'
  /** The bytes are not the ones that were asked for. */
  | 'integrity'
  /** The file is damaged or is no GGUF file. */
  | 'file'
  /** A good file, but nothing that this version can run. */
  | 'unsupported'
  /** The text does not fit the context. */
  | 'context'
  /** A saved state of another model. */
  | 'state'
  /** An option or argument out of its range. */
  | 'argument'
  /** This browser or page cannot run the engine. */
  | 'environment';

/** Every error of this package. `name` is `'AbortError'` for aborted work, as the platform's own functions have it. */
export class MoteError extends Error {
  readonly code: MoteErrorCode;

  constructor(code: MoteErrorCode, message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.code = code;
    this.name = code === 'aborted' ? 'AbortError' : 'MoteError';
  }

  /** Whatever was thrown, as one of ours. */
  static from(thrown: unknown, otherwise: MoteErrorCode = 'crashed'): MoteError {
    if (thrown instanceof MoteError) return thrown;
    if (thrown instanceof WebAssembly.RuntimeError) return new MoteError('crashed', `the engine stopped: ${thrown.message}`);
    if (!(thrown instanceof Error || thrown instanceof DOMException)) return new MoteError(otherwise, String(thrown));
    const code = KINDS['code' in thrown ? String(thrown.code) : ''] ?? KINDS[thrown.name] ?? otherwise;
    return new MoteError(code, thrown.message, thrown);
  }

  /** That `signal` was aborted. */
  static aborted(signal?: AbortSignal): MoteError {
    if (signal?.reason instanceof MoteError && signal.reason.code === 'aborted') return signal.reason;
    return new MoteError('aborted', 'the work was aborted', signal?.reason);
  }
}

/** Kinds of the engine's errors, and names of the platform's. */
const KINDS: Record<string, MoteErrorCode> = {
  Truncated: 'file',
  Malformed: 'file',
  Missing: 'file',
  Surplus: 'file',
  Shape: 'file',
  Unsupported: 'unsupported',
  Argument: 'argument',
  Template: 'argument',
  ContextFull: 'context',
  Memory: 'memory',
  State: 'state',
  AbortError: 'aborted',
  QuotaExceededError: 'quota',
};

/** Throws when `signal` was aborted. */
export function check(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw MoteError.aborted(signal);
}

/** `work`, or the error of an aborted signal if that comes first. */
export function unlessAborted<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (!signal) return work;
  return new Promise<T>((resolve, reject) => {
    const aborted = () => reject(MoteError.aborted(signal));
    signal.addEventListener('abort', aborted);
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', aborted));
    if (signal.aborted) aborted();
  });
}

/** `work`, or an error if `who` takes longer for it than so many milliseconds. */
export function within<T>(ms: number, who: string, work: Promise<T>): Promise<T> {
  const error = new MoteError('environment', `${who} has not answered for ${ms / 1000} seconds`);
  let timer: ReturnType<typeof setTimeout>;
  const late = new Promise<never>((_, reject) => (timer = setTimeout(reject, ms, error)));
  return Promise.race([work, late]).finally(() => clearTimeout(timer));
}
