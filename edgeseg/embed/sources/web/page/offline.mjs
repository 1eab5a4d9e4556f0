// Keeps the page in the browser, so that it opens without a network.

/**
 * Install the service worker and let it keep what this browser has loaded.
 *
 * @param {string[]} files addresses that the network's worker has loaded
 * @returns {Promise<boolean>} whether the page works offline from now on
 */
export async function keepOffline(files) {
  if (!navigator.serviceWorker) return false;
  await navigator.serviceWorker.register("sw.js");
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
