'use client';

import { Mote } from 'motelm';
import { useEffect, useRef, useState } from 'react';

/** Loads a model when it appears, unloads it when it goes. */
export function Story({ model }) {
  const mote = useRef();
  const [progress, setProgress] = useState(0);
  const [story, setStory] = useState('');
  const [telling, setTelling] = useState();

  useEffect(() => {
    const leaving = new AbortController();
    Mote.load(model, { signal: leaving.signal, onProgress: ({ ratio }) => setProgress(ratio) }).then(
      (loaded) => (leaving.signal.aborted ? loaded.unload() : (mote.current = loaded)),
      (error) => error.code !== 'aborted' && setStory(error.message),
    );
    return () => {
      leaving.abort();
      mote.current?.unload();
    };
  }, [model]);

  async function tell() {
    const generation = mote.current.generate('Once upon a time', { maxTokens: 200 });
    setTelling(generation);
    setStory('Once upon a time');
    for await (const piece of generation) setStory((story) => story + piece);
    setTelling(undefined);
  }

  return (
    <main>
      {progress < 1 && <progress value={progress} />}
      {telling ? (
        <button onClick={() => telling.stop()}>Stop</button>
      ) : (
        <button id="tell" disabled={progress < 1} onClick={tell}>
          Tell
        </button>
      )}
      <p id="story" style={{ whiteSpace: 'pre-wrap' }}>
        {story}
      </p>
    </main>
  );
}
