/** The script of pages in development, as browsers run it. It needs no permission that a page lacks. */
export const PAGE_SCRIPT = String.raw`(() => {
  "use strict";
  const script = document.currentScript;
  if (!script || window.holdfastDevelopment) return;
  window.holdfastDevelopment = true;
  const born = Number(script.dataset.born);
  const method = script.dataset.method || "GET";
  let instance;
  let overlay;

  function again() {
    // What was sent by a form is not sent once more.
    if (method === "GET") location.reload();
    else location.replace(location.href.split("#")[0]);
  }

  // A worker of the version before may answer once more while it drains.
  function isStale(sinceMs) {
    if (!(born < sinceMs)) return false;
    const key = "holdfast.stale";
    let tries = 0;
    try {
      tries = Number(sessionStorage.getItem(key) || 0);
      sessionStorage.setItem(key, String(tries + 1));
    } catch {
      tries = 9;
    }
    if (tries < 5) setTimeout(again, 100 * (tries + 1));
    return tries < 5;
  }

  function fresh() {
    try {
      sessionStorage.removeItem("holdfast.stale");
    } catch {
      // The page has no storage.
    }
  }

  function element(name, text, className) {
    const made = document.createElement(name);
    if (text !== undefined) made.textContent = text;
    if (className) made.className = className;
    return made;
  }

  function hide() {
    if (overlay) overlay.remove();
    overlay = undefined;
  }

  function show(failure) {
    hide();
    overlay = element("holdfast-overlay");
    overlay.setAttribute("role", "alertdialog");
    overlay.setAttribute("aria-label", failure.title);
    const root = overlay.attachShadow({ mode: "open" });
    // A sheet that is made so is no inline style for a Content-Security-Policy.
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(
      ":host { position: fixed; inset: 0; z-index: 2147483647; overflow: auto; " +
        "background: rgb(20 20 24 / 0.94); color: #f3f3f5; padding: 2rem; " +
        "font: 15px/1.5 ui-monospace, monospace; }" +
        "h1 { font-size: 1.15rem; color: #ff8080; margin: 0 0 1rem; }" +
        "p { white-space: pre-wrap; overflow-wrap: anywhere; margin: 0 0 1rem; }" +
        "pre { background: #000; padding: 1rem; overflow: auto; border-radius: 6px; }" +
        ".place { color: #8ecbff; } .hint { color: #ffd479; }" +
        "button { font: inherit; color: inherit; background: none; border: 1px solid; " +
        "border-radius: 4px; padding: 0.2rem 0.8rem; cursor: pointer; }",
    );
    root.adoptedStyleSheets = [sheet];
    root.append(element("h1", failure.title), element("p", failure.message));
    if (failure.place) root.append(element("p", failure.place, "place"));
    if (failure.frame) root.append(element("pre", failure.frame));
    if (failure.hint) root.append(element("p", failure.hint, "hint"));
    root.append(element("p", failure.outlook));
    const button = element("button", "Hide");
    button.addEventListener("click", hide);
    root.append(button);
    document.documentElement.append(overlay);
  }

  function swapStyles(names) {
    const links = [...document.querySelectorAll('link[rel~="stylesheet"][href]')]
      .filter((link) => new URL(link.href).origin === location.origin);
    const isNamed = (link) => names.includes(new URL(link.href).pathname.split("/").pop());
    const named = links.filter(isNamed);
    // Another sheet may import it.
    const swapped = named.length > 0 ? named : links;
    if (swapped.length === 0) return again();
    for (const link of swapped) {
      const url = new URL(link.href);
      url.searchParams.set("holdfast", String(Date.now()));
      const next = link.cloneNode();
      next.href = url.href;
      const done = () => link.remove();
      next.addEventListener("load", done);
      next.addEventListener("error", done);
      link.after(next);
    }
  }

  const hear = {
    hello({ instance: current, sinceMs, failure }) {
      // The server was started again, with what may be other code.
      if (instance !== undefined && instance !== current) return again();
      instance = current;
      if (isStale(sinceMs)) return;
      fresh();
      if (failure) show(failure);
      else hide();
    },
    failure: ({ failure }) => show(failure),
    reload: again,
    style: ({ names }) => swapStyles(names),
    refused: ({ text }) => console.warn(text),
  };
  const source = new EventSource(script.src.replace(/[^/]*$/, "events"));
  source.onmessage = ({ data }) => {
    const message = JSON.parse(data);
    if (Object.hasOwn(hear, message.type)) hear[message.type](message);
  };
  addEventListener("pagehide", () => source.close());
  addEventListener("pageshow", (event) => event.persisted && again());
})();
`;
