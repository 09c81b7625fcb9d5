// The pages' only module. Everything works without it; it adds comfort.
const $ = (s, r = document) => r.querySelector(s);
const root = document.documentElement;

// The theme that was chosen here; else the system's.
try { const t = localStorage.getItem("theme"); if (t) root.dataset.theme = t; } catch { /* storage is off */ }
document.addEventListener("click", async (e) => {
  const el = e.target.closest("[data-do]");
  if (!el) return;
  const what = el.dataset.do;
  if (what === "theme") {
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    try { localStorage.setItem("theme", root.dataset.theme); } catch { /* storage is off */ }
  } else if (what === "copy") {
    const pre = $("pre", el.parentElement), w = $(".w", el);
    try { await navigator.clipboard.writeText(pre.textContent); w.textContent = "Copied"; el.classList.add("ok"); }
    catch { w.textContent = "Selected"; getSelection().selectAllChildren(pre); }
    setTimeout(() => { w.textContent = "Copy"; el.classList.remove("ok"); }, 1600);
  } else if (what === "open") {
    const d = document.getElementById(el.dataset.target);
    if (!d) return;
    e.preventDefault();
    for (const [k, v] of Object.entries(el.dataset)) {
      for (const o of d.querySelectorAll(`[data-fill="${k}"]`)) o.textContent = v;
      for (const o of d.querySelectorAll(`[data-value="${k}"]`)) o.value = v;
    }
    if (!d.open) d.showModal();
  } else if (what === "close") {
    e.preventDefault(); el.closest("dialog").close();
  }
});

// A form that was sent once is not sent twice.
document.addEventListener("submit", (e) => {
  const b = e.submitter;
  if (e.target.method === "post" && b) setTimeout(() => { b.disabled = true; setTimeout(() => { b.disabled = false; }, 8000); }, 0);
});

// Live progress: events, and where a proxy keeps those back, looking every five seconds.
const size = (n) => { for (const [u, f] of [["TB", 1e12], ["GB", 1e9], ["MB", 1e6], ["kB", 1e3]]) if (n >= f) { const v = n / f; return `${v.toFixed(v < 10 ? 2 : v < 100 ? 1 : 0)} ${u}`; } return `${n} B`; };
for (const box of document.querySelectorAll("[data-events]")) {
  const bar = $("progress", box), says = $("[data-says]", box);
  let shown = 0, heard = 0;
  const show = (run) => {
    heard = Date.now();
    if (["COMPLETED", "FAILED"].includes(run.status)) { location.reload(); return true; }
    if (heard - shown < 1000) return false;
    shown = heard;
    const p = run.progress;
    if (!p) return false;
    const whole = Number(box.dataset.usual) || p.expected;
    if (whole) { bar.max = Math.max(whole, p.bytes); bar.value = p.bytes; }
    says.textContent = `${p.stream ? `${p.stream}: ` : ""}${size(p.bytes)}${whole ? ` of about ${size(whole)}` : ""}${p.rate ? `, ${size(p.rate)}/s` : ""}`;
    return false;
  };
  const poll = async () => {
    if (Date.now() - heard > 4500) {
      try {
        const r = await fetch(box.dataset.run, { headers: { accept: "application/json" } });
        if (r.ok && show(await r.json())) return;
      } catch { /* the next look may do */ }
    }
    setTimeout(poll, 5000);
  };
  const events = new EventSource(box.dataset.events);
  events.addEventListener("run", (e) => { if (show(JSON.parse(e.data))) events.close(); });
  events.addEventListener("end", () => { events.close(); location.reload(); });
  setTimeout(poll, 5000);
}

// Tooltips for chart marks: the text is the mark's own <title>.
let tip;
document.addEventListener("pointerover", (e) => {
  const m = e.target.closest?.("svg .m");
  if (!m) { tip?.remove(); tip = null; return; }
  const own = m.querySelector("title");
  if (own) { m.dataset.tip = own.textContent; own.remove(); }   // no second, native tooltip
  const r = m.getBoundingClientRect();
  tip ??= document.body.appendChild(Object.assign(document.createElement("div"), { className: "tip" }));
  tip.textContent = m.dataset.tip;
  const b = tip.getBoundingClientRect();
  tip.style.left = `${Math.min(innerWidth - b.width - 8, Math.max(8, r.x + r.width / 2 - b.width / 2))}px`;
  tip.style.top = `${r.y > b.height + 12 ? r.y - b.height - 6 : r.y + r.height + 6}px`;
});
