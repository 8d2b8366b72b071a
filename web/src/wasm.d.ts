/** A build of the engine, deflated and in base64. */
declare module '*.wasm.js' {
  const base64: string;
  export default base64;
}

/** The worker as one script, put here by `build.mjs`. */
declare module '*worker.js?text' {
  const script: string;
  export default script;
}
