import { Mote } from 'motelm';

const [bar, tell, story] = ['bar', 'tell', 'story'].map((id) => document.getElementById(id));

// public/model.gguf
const mote = await Mote.load('model.gguf', { onProgress: ({ ratio }) => (bar.value = ratio) });

tell.onclick = async () => {
  story.textContent = 'Once upon a time';
  for await (const piece of mote.generate('Once upon a time', { maxTokens: 200 })) story.append(piece);
};
tell.disabled = false;
