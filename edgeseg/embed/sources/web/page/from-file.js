// Browsers load no modules from a disk: say so to whom opens index.html by a double click.
"use strict";

if (location.protocol === "file:") {
  const message = document.querySelector("#message");
  message.textContent =
    "A page like this must be served. Run: python -m http.server 8000, in its folder, and open " +
    "http://localhost:8000";
  message.hidden = false;
  document.querySelector("#backend").textContent = "Not loaded";
}
