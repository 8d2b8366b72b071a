import { Mote } from 'motelm';

const [bar, tell, story] = ['bar', 'tell', 'story'].map((id) => document.getElementById(id));

// public/model.gguf
const loading = Mote.load('model.gguf', { onProgress: ({ ratio }) => (bar.value = ratio) });

tell.onclick = async () => {
  const mote = await loading;
  story.textContent = 'Once upon a time';
  for await (const piece of mote.generate('Once upon a time', { maxTokens: 200 })) story.append(piece);
};
