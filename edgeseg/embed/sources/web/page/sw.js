// Serves the page from what was kept of it. The version changes with any file of the kit, so that
// a new kit takes the place of the old one.
"use strict";

const VERSION = "@VERSION@";
const FILES = @FILES@;
const FAMILY = `edgeseg ${self.registration.scope} `;
const CACHE = FAMILY + VERSION;

// Past what the browser has kept of an older kit; a server may take its files for unchanged, too.
const request = (file) => new Request(file, { cache: "reload" });

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

// What was loaded before this worker served the page.
self.addEventListener("message", (event) => {
  const keep = async () => {
    const cache = await caches.open(CACHE);
    const own = event.data.keep.filter((url) => isKept(new URL(url)));
    const found = await Promise.all(own.map((url) => cache.match(url, { ignoreSearch: true })));
    // These have a digest in their name, or the browser has just loaded them.
    await cache.addAll(new Set(own.filter((_, index) => !found[index])));
    return true;
  };
  event.waitUntil(keep().catch(() => false).then((done) => event.ports[0].postMessage(done)));
});

// Of the runtime's and the network's files a browser needs some only, and of the example maybe
// none: they are kept as they come.
function isKept(url) {
  const { scope } = self.registration;
  return ["edgeseg/", "golden/"].some((name) => url.href.startsWith(scope + name));
}

self.addEventListener("fetch", (event) => {
  const url = new URL(event.request.url);
  if (event.request.method !== "GET" || url.origin !== self.location.origin) return;
  const isFolder = event.request.mode === "navigate" && url.pathname.endsWith("/");
  const answer = async () => {
    const cache = await caches.open(CACHE);
    const wanted = isFolder ? new URL("index.html", url) : event.request;
    const found = await cache.match(wanted, { ignoreSearch: true });
    if (found) return found;
    const loaded = await fetch(event.request);
    if (isKept(url) && loaded.ok) event.waitUntil(cache.put(event.request, loaded.clone()));
    return loaded;
  };
  event.respondWith(answer());
});
