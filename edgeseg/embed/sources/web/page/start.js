// A classic script, which runs where modules do not: it says why the page does not start.
"use strict";

(() => {
  const PATIENCE_MS = 15_000;
  const served =
    "Run: python3 -m http.server 8000, in the folder of its index.html, and open " +
    "http://localhost:8000";

  /** Show a message, in the page or in that of the golden image. */
  const tell = (text) => {
    if (document.documentElement.dataset.started) return;
    const message = document.querySelector("#message") ?? document.querySelector("#state");
    message.textContent = text;
    message.hidden = false;
    const backend = document.querySelector("#backend");
    if (backend) backend.textContent = "Not loaded";
  };
  const whenRead = (step) =>
    document.readyState === "loading"
      ? document.addEventListener("DOMContentLoaded", step, { once: true })
      : step();

  if (location.protocol === "file:") {
    // Browsers load no modules from a disk.
    whenRead(() => tell(`A page like this must be served. ${served}`));
    return;
  }
  // The event of an element that cannot be loaded does not rise: it is caught on its way down.
  document.addEventListener(
    "error",
    ({ target }) => {
      if (target.type !== "module") return;
      whenRead(() =>
        tell(
          "The code of this page could not be loaded. Check that the server has all files of the " +
            "kit, and sends .js as text/javascript. Then load the page anew.",
        ),
      );
    },
    true,
  );
  setTimeout(
    () =>
      tell(
        "The code of this page has not started yet. Wait, where the connection is slow; " +
          "otherwise load the page anew, in Chrome from 91, Firefox from 114 or Safari from 16.4 on.",
      ),
    PATIENCE_MS,
  );
})();
