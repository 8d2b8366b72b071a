/** What the page and its worker say to each other. Every request has an `id`, and every answer repeats it. */

/** Where a model comes from: a URL that the worker fetches, or the bytes of a GGUF file. */
export type Source = string | Uint8Array<ArrayBuffer>;

/** What a model file says about itself. */
export interface Info {
  /** GGUF version, 1 to 3. */
  version: number;
  /** `general.architecture` of the file. */
  architecture: string;
  /** `general.name` of the file. */
  name: string | undefined;
  /** How many weights it has. */
  parameters: number;
  /** Size of the file in bytes. */
  bytes: number;
}

/** How to generate. What is left out has the engine's default, which is llama.cpp's. */
export interface GenerateOptions {
  /** At most this many tokens (256). */
  maxTokens?: number;
  /** Fixes every random choice: the same seed tells the same story on every machine. By default it is drawn. */
  seed?: number;
  /** Flattens (above 1) or sharpens (below 1) the choice; 0 always takes the most probable token. */
  temperature?: number;
  /** Chooses among this many most probable tokens; 0 among all. */
  topK?: number;
  /** Chooses among the most probable tokens that hold this share of the probability; 1 among all. */
  topP?: number;
  /** Chooses among tokens at least this share as probable as the best one; 0 among all. */
  minP?: number;
  /** Divides the logits of recent tokens; 1 is off. */
  repeatPenalty?: number;
  /** Texts that end it, wherever they appear; they are not part of the result. */
  stop?: string[];
}

/** How to load. */
export interface LoadOptions {
  /** How many tokens of text the model can hold; 0 or absent: as many as it was trained for, at most 4096. */
  context?: number;
}

export type Request =
  | { kind: 'probe'; id: number; source: Source }
  | { kind: 'load'; id: number; source: Source; context: number }
  | { kind: 'tokenize'; id: number; text: string }
  | { kind: 'detokenize'; id: number; tokens: Uint32Array }
  | { kind: 'generate'; id: number; prompt: string; options: GenerateOptions }
  | { kind: 'cancel'; id: number };

export type Answer =
  /** The result; for `generate`, that it has ended. */
  | { kind: 'done'; id: number; value: unknown }
  /** The next piece of text. */
  | { kind: 'text'; id: number; text: string }
  | { kind: 'error'; id: number; name: string; message: string };
