// Runs the page's module in a document of one box, as a browser behind a proxy would. The proxy passes events on, or
// holds them back for ever. Time goes ten times as fast.
//
//   node page.js MODULE PORT COOKIE EVENTS RUN held|open
//
// Prints a line for each request for the run (`asked`), event (`heard`), text (`shown TEXT`), and the end (`reload`).
"use strict";
const fs = require("node:fs");
const http = require("node:http");
const vm = require("node:vm");
const [module_, port, cookie, events, run, way] = process.argv.slice(2);
const say = (line) => process.stdout.write(`${line}\n`);

const began = Date.now();
setTimeout(() => { say("nothing happens"); process.exit(1); }, 100_000).unref();

const proxy = http.createServer((asked, answer) => {
  const headers = { host: `127.0.0.1:${port}`, cookie, accept: asked.headers.accept ?? "*/*" };
  const onward = http.request({ port, path: asked.url, headers }, (from) => {
    if (way === "held" && (from.headers["content-type"] ?? "").startsWith("text/event-stream")) return;
    answer.writeHead(from.statusCode, from.headers);
    from.pipe(answer);
  });
  onward.on("error", () => answer.destroy());
  onward.end();
});

proxy.listen(0, "127.0.0.1", () => {
  const base = `http://127.0.0.1:${proxy.address().port}`;
  const asking = (path, options) => {
    if (path === run) say("asked");
    return fetch(base + path, options);
  };
  class EventSource {
    constructor(path) {
      this.heard = {};
      this.follow(path).catch((error) => say(`the stream broke: ${error}`));
    }
    addEventListener(name, act) { this.heard[name] = act; }
    close() { this.closed = true; }
    async follow(path) {
      const answer = await fetch(base + path, { headers: { accept: "text/event-stream" } });
      if (!answer.ok) throw new Error(String(answer.status));
      let text = "";
      for await (const bytes of answer.body) {
        text += Buffer.from(bytes).toString();
        for (let end = text.indexOf("\n\n"); end >= 0 && !this.closed; end = text.indexOf("\n\n")) {
          const fields = Object.fromEntries(text.slice(0, end).split("\n").map((line) => line.split(/: ?(.*)/s)));
          text = text.slice(end + 2);
          if (fields.event) say("heard");
          this.heard[fields.event]?.({ data: fields.data });
        }
      }
    }
  }
  const bar = {}, text = { set textContent(value) { say(`shown ${value}`); } };
  const box = { dataset: { events, run }, querySelector: (what) => (what === "progress" ? bar : text) };
  // What the module sees, and nothing else does.
  const page = vm.createContext({
    EventSource,
    fetch: asking,
    setTimeout: (act, ms) => setTimeout(act, ms / 10),
    Date: { now: () => began + (Date.now() - began) * 10 },
    location: { reload() { say("reload"); process.exit(0); } },
    document: {
      documentElement: { dataset: {} },
      addEventListener() {},
      querySelectorAll: (what) => (what === "[data-events]" ? [box] : []),
    },
  });
  vm.runInContext(fs.readFileSync(module_, "utf8"), page, { filename: module_ });
});
