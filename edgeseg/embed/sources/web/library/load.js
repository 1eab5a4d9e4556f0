// Files of the kit. Names hold a digest of the content, so that files of two kits, one of which a
// browser or a server has kept from before, never come together.

/**
 * What model/model.json holds. It says the names of all other files, and so is never taken from
 * what the browser has kept of it.
 *
 * @returns {Promise<object>}
 * @throws {Error} it is not there, or the network is away
 */
export async function loadModel() {
  return (await load("model/model.json", { cache: "no-store" })).json();
}

/**
 * A file of the network.
 *
 * @param {object} model what `loadModel` gave
 * @param {string} name as in `model.files`
 * @returns {Promise<Uint8Array>}
 * @throws {Error} it is not there or damaged, or the network is away
 */
export async function loadChecked(model, name) {
  const content = new Uint8Array(await (await load(`model/${name}`)).arrayBuffer());
  if (!self.isSecureContext) return content; // browsers compute no digest there
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", content));
  const text = Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
  if (text !== model.sha256[name]) {
    throw new Error(`model/${name} is damaged: copy the kit to the server again, and reload`);
  }
  return content;
}

async function load(name, options) {
  let answer;
  try {
    answer = await fetch(new URL(name, import.meta.url), options);
  } catch {
    throw new Error(`${name} could not be loaded: there is no connection`);
  }
  if (!answer.ok) throw new Error(`${name} could not be loaded (${answer.status})`);
  return answer;
}
