// The engines that MoteLM is measured beside, each through the calls that its own documentation shows.

/** Tokens that are in every vocabulary; what they mean does not matter for time. */
export const prompt = (n) => Array.from({ length: n }, (_, i) => 300 + ((i * 7919) % 4000));

/** wllama 2.3.1, through the calls that its own createCompletion makes. */
class Wllama2 {
  static async load(url, { threads, context }) {
    const esm = new URL('./node_modules/@wllama/wllama/esm/', location.href).href;
    const { Wllama } = await import(`${esm}index.js`);
    const peer = new Wllama2();
    peer.wllama = new Wllama(
      {
        'single-thread/wllama.wasm': `${esm}single-thread/wllama.wasm`,
        'multi-thread/wllama.wasm': `${esm}multi-thread/wllama.wasm`,
      },
      { suppressNativeLog: true },
    );
    const file = await (await fetch(url)).blob();
    await peer.wllama.loadModel([file], { n_ctx: context, n_batch: 256, n_threads: threads });
    peer.info = { threads: peer.wllama.getNumThreads?.() };
    return peer;
  }

  async prefill(pp) {
    await this.wllama.kvClear();
    await this.wllama.samplingInit({ temp: 0 });
    const start = performance.now();
    await this.wllama.decode(prompt(pp), {});
    this.token = (await this.wllama.samplingSample()).token;
    return performance.now() - start;
  }

  async decode(tg) {
    const start = performance.now();
    for (let i = 0; i < tg; i++) {
      await this.wllama.samplingAccept([this.token]);
      await this.wllama.decode([this.token], {});
      this.token = (await this.wllama.samplingSample()).token;
    }
    return performance.now() - start;
  }
}

/** The token of the letters `ab` in a vocabulary that `mote bench --shape` makes: there, two bytes are a token. */
const AB = 259 + 256 * 97 + 98;

/** wllama 3, which takes and gives texts, and ends with an error at one that is not UTF-8: all of its are of letters. */
class Wllama3 {
  rounds = 0;

  static async load(url, { threads, context }) {
    const esm = new URL('./node_modules/wllama-3/esm/', location.href).href;
    const { Wllama } = await import(`${esm}index.js`);
    const peer = new Wllama3();
    peer.wllama = new Wllama({ default: `${esm}wasm/wllama.wasm` }, { suppressNativeLog: true });
    const file = await (await fetch(url)).blob();
    await peer.wllama.loadModel([file], { n_ctx: context, n_batch: 256, n_threads: threads, n_gpu_layers: 0 });
    return peer;
  }

  /** Each round begins with another token, so that nothing is in the cache. */
  prefill(pp) {
    this.prompt = `a${String.fromCharCode(98 + (this.rounds++ % 25))}${'ab'.repeat(pp - 1)}`;
    return this.complete(1, pp);
  }

  /** The prompt's last token once more, and all but one of those that follow. */
  decode(tg) {
    return this.complete(tg, 1);
  }

  async complete(tokens, read) {
    const start = performance.now();
    const options = { prompt: this.prompt, max_tokens: tokens, temperature: 0, ignore_eos: true, cache_prompt: true, logit_bias: [[AB, 100]] };
    const { timings } = await this.wllama.createCompletion(options);
    const ms = performance.now() - start;
    const { prompt_n, predicted_n } = timings;
    if (prompt_n !== read || predicted_n !== tokens) throw new Error(`${prompt_n} and ${predicted_n} tokens instead of ${read} and ${tokens}`);
    return ms;
  }
}

/** transformers.js with the int8 model that gguf_to_onnx.py made of the file. */
class Transformers {
  static async load(url, { threads }) {
    const { AutoModelForCausalLM, Tensor, env } = await import('@huggingface/transformers');
    Object.assign(env, { allowRemoteModels: false, allowLocalModels: true, useBrowserCache: false, useWasmCache: false, localModelPath: '/' });
    const folder = url.replace(/-[^-/]*\.gguf$/, '-onnx');
    Object.assign(env.backends.onnx.wasm, { numThreads: threads, wasmPaths: new URL('./node_modules/onnxruntime-web/dist/', location.href).href });
    const peer = new Transformers();
    peer.model = await AutoModelForCausalLM.from_pretrained(folder.slice(1), { dtype: 'q8', device: 'wasm' });
    peer.tensor = (tokens) => new Tensor('int64', BigInt64Array.from(tokens, BigInt), [1, tokens.length]);
    return peer;
  }

  async prefill(pp) {
    await this.cache?.dispose();
    this.cache = undefined;
    return this.generate(this.tensor(prompt(pp)), 1);
  }

  decode(tg) {
    return this.generate(this.sequence, tg);
  }

  async generate(sequence, tokens) {
    const length = sequence.dims[1];
    const start = performance.now();
    const { sequences, past_key_values } = await this.model.generate({
      input_ids: sequence,
      attention_mask: this.tensor(Array(length).fill(1)),
      ...(this.cache && { past_key_values: this.cache }),
      max_new_tokens: tokens,
      do_sample: false,
      return_dict_in_generate: true,
    });
    const ms = performance.now() - start;
    if (sequences.dims[1] !== length + tokens) throw new Error(`${sequences.dims[1] - length} tokens instead of ${tokens}`);
    [this.sequence, this.cache] = [sequences, past_key_values];
    return ms;
  }
}

export const PEERS = { wllama: Wllama2, 'wllama-3': Wllama3, transformers: Transformers };
