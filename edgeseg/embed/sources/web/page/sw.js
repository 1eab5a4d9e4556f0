// Serves the page from what was kept of it. The version changes with any file of the kit, so that
// a new kit takes the place of the old one.
"use strict";

const VERSION = "@VERSION@";
const FILES = @FILES@;
const FAMILY = `edgeseg ${self.registration.scope} `;
const CACHE = FAMILY + VERSION;

// What the browser has loaded already is asked for again, not loaded again.
const request = (file) => new Request(file, { cache: "no-cache" });

self.addEventListener("install", (event) => {
  event.waitUntil(
    caches
      .open(CACHE)
      .then((cache) => cache.addAll(FILES.map(request)))
      .then(() => self.skipWaiting()),
  );
});

self.addEventListener("activate", (event) => {
  event.waitUntil(
    caches
      .keys()
      .then((names) => names.filter((name) => name.startsWith(FAMILY) && name !== CACHE))
      .then((names) => Promise.all(names.map((name) => caches.delete(name))))
      .then(() => self.clients.claim()),
  );
});

// The runtime's and the network's files, of which this browser needs some only.
self.addEventListener("message", (event) => {
  const keep = async () => {
    const cache = await caches.open(CACHE);
    const own = event.data.keep.filter((url) => url.startsWith(self.registration.scope));
    const found = await Promise.all(own.map((url) => cache.match(url)));
    await cache.addAll([...new Set(own.filter((_, index) => !found[index]))].map(request));
    return true;
  };
  event.waitUntil(keep().catch(() => false).then((done) => event.ports[0].postMessage(done)));
});

self.addEventListener("fetch", (event) => {
  const url = new URL(event.request.url);
  if (event.request.method !== "GET" || url.origin !== self.location.origin) return;
  const isFolder = event.request.mode === "navigate" && url.pathname.endsWith("/");
  const answer = async () => {
    const cache = await caches.open(CACHE);
    const wanted = isFolder ? new URL("index.html", url) : event.request;
    return (await cache.match(wanted, { ignoreSearch: true })) ?? fetch(event.request);
  };
  event.respondWith(answer());
});
