// MoteLM's side of the bench, in a worker: loads a file in pieces and times a prompt and a generation. With the build
// `threads`, workers of the same script are its other threads.
let session, Did;

self.onmessage = async ({ data }) => {
  try {
    self.postMessage(await { load, help, prefill, decode }[data.kind](data));
  } catch (error) {
    self.postMessage({ error: String(error.stack ?? error) });
  }
};

async function load({ url, build, threads, context }) {
  const engine = await import(`../wasm/${build}/motelm_wasm.js`);
  const { memory } = await engine.default();
  if (build === 'threads') {
    engine.setThreads(threads);
    for (let i = 1; i < threads; i++) await came(new Worker('mote.js', { type: 'module' }), memory);
  }
  const response = await fetch(url);
  const loader = new engine.Loader(new Float64Array([Number(response.headers.get('content-length'))]));
  const reader = response.body.getReader();
  for (let { done, value } = await reader.read(); !done; { done, value } = await reader.read()) loader.push(value);
  session = loader.finish().session({ context });
  ({ Did } = engine);
  return { level: engine.level(), threads };
}

function came(thread, memory) {
  thread.postMessage({ kind: 'help', memory });
  return new Promise((resolve) => (thread.onmessage = resolve));
}

async function help({ memory }) {
  const engine = await import('../wasm/threads/motelm_wasm.js');
  await engine.default({ module_or_path: new URL('../wasm/threads/motelm_wasm_bg.wasm', import.meta.url), memory, thread_stack_size: 1 << 20 });
  self.postMessage('came');
  engine.work();
}

function prefill({ prompt }) {
  session.clear();
  const start = performance.now();
  session.start(new Uint32Array(prompt), { temperature: 0, ignoreEnd: true });
  while (session.step(256, 4) === Did.Prefill);
  return performance.now() - start;
}

function decode({ tg }) {
  const start = performance.now();
  for (let i = 0; i < tg; i++) session.step(1, 1e6);
  return performance.now() - start;
}
