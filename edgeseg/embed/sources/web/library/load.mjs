// Files of the kit, with a message that names the one which is missing.

/**
 * @param {string} name path from the folder of this file
 * @returns {Promise<Response>}
 * @throws {Error} the file is not there, or the network is away
 */
export async function load(name) {
  let answer;
  try {
    answer = await fetch(new URL(name, import.meta.url));
  } catch {
    throw new Error(`${name} could not be loaded: there is no connection`);
  }
  if (!answer.ok) throw new Error(`${name} could not be loaded (${answer.status})`);
  return answer;
}

/** The content of a file. */
export async function loadBytes(name) {
  return new Uint8Array(await (await load(name)).arrayBuffer());
}
