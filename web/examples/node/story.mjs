// node story.mjs model.gguf "Once upon a time"
import { Mote } from 'motelm';

const [model = 'model.gguf', prompt = 'Once upon a time'] = process.argv.slice(2);
const mote = await Mote.load(model);
process.stdout.write(prompt);
const story = mote.generate(prompt, { maxTokens: 200 });
for await (const piece of story) process.stdout.write(piece);
const { timings } = await story.result;
console.log(`\n\n${timings.tokensPerSecond.toFixed(0)} tokens per second`);
mote.unload();
