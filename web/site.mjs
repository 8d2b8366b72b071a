// Gathers the page of demo/ with everything it needs in a folder that any static host can serve: `npm run site -- FOLDER`.
import { cp, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

const here = (path) => new URL(path, import.meta.url).pathname;
const site = process.argv[2] ?? here('site');

// As they lie in the checkout, so that the page is the same here and there.
await mkdir(join(site, 'web'), { recursive: true });
await cp(here('demo'), join(site, 'web/demo'), { recursive: true });
await cp(here('dist'), join(site, 'web/dist'), { recursive: true, filter: (path) => !path.endsWith('.d.ts') });
await cp(here('../models'), join(site, 'models'), { recursive: true });
await writeFile(join(site, 'index.html'), '<!doctype html><title>MoteLM</title><meta http-equiv="refresh" content="0; url=web/demo/">\n');
// GitHub's pages would leave out what it takes for drafts.
await writeFile(join(site, '.nojekyll'), '');
