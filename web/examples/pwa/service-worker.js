// Keeps everything that the page has loaded, and gives it out when there is no network. The model is not kept here: the
// package has it in the origin's own file system, where a download that broke off can go on.
const KEPT = 'story v1';

addEventListener('install', (event) => {
  const shell = ['./', 'app.webmanifest', 'node_modules/motelm/dist/index.js'];
  event.waitUntil(caches.open(KEPT).then((cache) => cache.addAll(shell)).then(() => skipWaiting()));
});

addEventListener('activate', (event) => event.waitUntil(clients.claim()));

addEventListener('fetch', (event) => {
  const { request } = event;
  if (request.method !== 'GET' || request.url.endsWith('.gguf')) return;
  event.respondWith(
    (async () => {
      const cache = await caches.open(KEPT);
      try {
        const response = await fetch(request);
        if (response.ok) await cache.put(request, response.clone());
        return response;
      } catch (offline) {
        const kept = await cache.match(request, { ignoreSearch: true });
        if (kept) return kept;
        throw offline;
      }
    })(),
  );
});
