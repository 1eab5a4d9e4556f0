// Keeps the page in the browser, so that it opens without a network.

const PATIENCE_MS = 2000;

/**
 * Install the service worker, and wait until it serves this page: what is loaded from then on is
 * kept, and so is loaded once only.
 *
 * @returns {Promise<void>} rejected where the browser keeps nothing, such as in private windows
 */
export async function startKeeping() {
  const { serviceWorker } = navigator;
  if (!serviceWorker) return;
  const isServing = new Promise((resolve) => {
    serviceWorker.addEventListener("controllerchange", resolve, { once: true });
  });
  const { active } = await serviceWorker.register("sw.js");
  // A page that was loaded past its worker on purpose is not served by it.
  if (serviceWorker.controller || active) return;
  await Promise.race([isServing, new Promise((resolve) => setTimeout(resolve, PATIENCE_MS))]);
}

/**
 * Let the service worker keep what it has not seen being loaded.
 *
 * @param {string[]} files addresses that this page and the network's worker have loaded
 * @returns {Promise<boolean>} whether the page works offline from now on
 */
export async function keepOffline(files) {
  if (!navigator.serviceWorker) return false;
  const { active } = await navigator.serviceWorker.ready;
  const channel = new MessageChannel();
  const kept = new Promise((resolve) => (channel.port1.onmessage = ({ data }) => resolve(data)));
  active.postMessage({ keep: files }, [channel.port2]);
  return kept;
}

/**
 * Call back when a newer kit has taken this one's place on the server.
 *
 * @param {() => void} tell
 */
export function onNewKit(tell) {
  const { serviceWorker } = navigator;
  if (serviceWorker?.controller) serviceWorker.addEventListener("controllerchange", tell);
}
