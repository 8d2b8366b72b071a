// What run.mjs calls in the page: an engine of each kind, loaded with a model file, then timed. All get the same
// tokens and choose greedily.
import { Wllama } from './node_modules/@wllama/wllama/esm/index.js';

/** Tokens that are in every vocabulary; what they mean does not matter for time. */
const prompt = (n) => Array.from({ length: n }, (_, i) => 300 + ((i * 7919) % 4000));

/** MoteLM in a worker, as the package runs it. */
class Mote {
  static async load(url, { build, threads, context }) {
    const mote = new Mote();
    mote.worker = new Worker('mote.js', { type: 'module' });
    mote.info = await mote.ask({ kind: 'load', url: new URL(url, location.href).href, build, threads, context });
    return mote;
  }

  ask(request) {
    return new Promise((resolve, reject) => {
      this.worker.onmessage = ({ data }) => (data?.error ? reject(new Error(data.error)) : resolve(data));
      this.worker.onerror = (event) => reject(new Error(event.message));
      this.worker.postMessage(request);
    });
  }

  prefill(pp) {
    return this.ask({ kind: 'prefill', prompt: prompt(pp) });
  }

  decode(tg) {
    return this.ask({ kind: 'decode', tg });
  }

  async close() {
    this.worker.terminate();
  }
}

/** wllama, through the calls that its own createCompletion makes. */
class Peer {
  static async load(url, { threads, context }) {
    const esm = new URL('./node_modules/@wllama/wllama/esm/', location.href).href;
    const peer = new Peer();
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

  async close() {
    await this.wllama.exit();
  }
}

const engines = {};

window.bench = {
  async load(name, url, options) {
    engines[name] = await (options.peer ? Peer : Mote).load(url, options);
    return engines[name].info;
  },
  prefill: (name, pp) => engines[name].prefill(pp),
  decode: (name, tg) => engines[name].decode(tg),
  async close(name) {
    await engines[name].close();
    delete engines[name];
  },
  isolated: () => crossOriginIsolated,
};
