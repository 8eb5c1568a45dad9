// The console: one page over /api. Whatever comes from a stream is put into the page as text, never as markup.
// Nothing is asked for while the page is hidden, or of a view that is not shown.

const ROW = 46; // height of a stream's row, as in the style sheet
const SAMPLES = 45;
const SHOWN_MAX = 500; // messages kept in the page
const VALUE_MAX = 16384; // bytes of a value that are asked for until its row is opened
const PAGE = 100;

const $ = (id) => document.getElementById(id);
const url = (path, query = {}) => {
  const given = Object.entries(query).filter(([, value]) => value !== undefined && value !== null && value !== "");
  return path + (given.length ? "?" + new URLSearchParams(given) : "");
};

/** An element: properties by name, `on...` handlers, children that are nodes or text. */
function el(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name === "class") made.className = value;
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return made;
}

const count = (number) => (number ?? 0).toLocaleString("en").replaceAll(",", "\u202f");
function size(bytes) {
  const units = ["B", "KB", "MB", "GB", "TB"];
  let at = 0;
  while (bytes >= 1024 && at < units.length - 1) (bytes /= 1024), at++;
  return `${bytes >= 100 || at === 0 ? Math.round(bytes) : bytes.toFixed(1)}\u202f${units[at]}`;
}
const many = (number, word) => `${count(number)} ${word}${number === 1 ? "" : "s"}`;
const called = (protocol) => (protocol === "resp" ? "redis" : protocol);
const rate = (each) => (each >= 10000 ? `${(each / 1000).toFixed(0)}k/s` : each >= 1000 ? `${(each / 1000).toFixed(1)}k/s` : each >= 10 || each === 0 ? `${Math.round(each)}/s` : `${each.toFixed(1)}/s`);
function span(ms) {
  for (const [length, unit] of [[86400000, "d"], [3600000, "h"], [60000, "min"], [1000, "s"]])
    if (ms >= length) return `${+(ms / length).toFixed(1)}\u202f${unit}`;
  return `${ms}\u202fms`;
}
function clock(ms) {
  const at = new Date(ms);
  const time = at.toLocaleTimeString("en-GB") + "." + String(at.getMilliseconds()).padStart(3, "0");
  return at.toDateString() === new Date().toDateString() ? time : `${at.toISOString().slice(5, 10)} ${time.slice(0, 8)}`;
}

function note(words) {
  const shown = el("div", { class: "note" }, String(words));
  $("notes").append(shown);
  while ($("notes").children.length > 4) $("notes").firstChild.remove();
  setTimeout(() => shown.remove(), 7000);
}

class Refused extends Error {}

async function ask(path, options = {}) {
  let answer;
  try {
    answer = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused("the server is not reached");
  }
  const found = await answer.json().catch(() => ({ error: `HTTP ${answer.status}` }));
  if (!answer.ok) throw new Refused(found.error ?? `HTTP ${answer.status}`);
  return found;
}

/** Every line of an answer that goes on, parsed, as many at a time as have come. */
async function* follow(path, signal) {
  const answer = await fetch(path, { signal });
  if (!answer.ok) throw new Refused((await answer.json().catch(() => ({}))).error ?? `HTTP ${answer.status}`);
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    yield lines.filter((line) => line).map((line) => JSON.parse(line));
  }
}

// ---------------------------------------------------------------- what the process says once a second

const streams = new Map(); // name -> what is known of it
const rates = new Map(); // name -> its last samples
const quiet = Array(SAMPLES).fill(0);
let totals = quiet;
let latest = {};
let source = null;
let retry = 0;
const watchers = new Set(); // called after each event

function listen() {
  if (source || document.hidden) return;
  source = new EventSource(url("/api/events", { internal: internal() ? 1 : undefined }));
  source.onmessage = (message) => {
    const event = JSON.parse(message.data);
    if (!("streams" in event)) load(); // it says where things stand: what is to be listed is asked for
    state("live", event.ready === false ? "storage has failed" : "live");
    if (event.ready === false) state("lost", "storage has failed");
    take(event);
  };
  source.onerror = () => {
    state("lost", "connection lost");
    hush();
    clearTimeout(retry);
    retry = setTimeout(listen, 2000);
  };
}

function hush() {
  source?.close();
  source = null;
}

function state(kind, words) {
  $("state").className = `state ${kind}`;
  $("state").textContent = words;
}

function take(event) {
  latest = { ...latest, ...event };
  let total = 0;
  for (const one of event.streams ?? []) {
    streams.set(one.name, { ...streams.get(one.name), ...one });
    total += one.rate;
  }
  const made = (event.streams ?? []).filter((one) => one.new);
  if (made.length > 3) void load();
  else for (const one of made) void refresh(one.name);
  for (const name of event.gone ?? []) streams.delete(name), rates.delete(name);
  if (event.streams) {
    const moved = new Map(event.streams.map((one) => [one.name, one.rate]));
    for (const [name, one] of streams) {
      one.rate = moved.get(name) ?? 0;
      const samples = rates.get(name);
      if (samples || one.rate) rates.set(name, [...(samples ?? quiet), one.rate].slice(-SAMPLES));
    }
    totals = [...totals, total].slice(-SAMPLES);
  }
  head(total);
  for (const each of watchers) each(event);
}

function head(total) {
  const shown = [];
  for (const [name, number] of Object.entries(latest.connections ?? {}))
    shown.push(el("span", { class: "count", title: `connections of ${called(name)} clients` }, el("span", { class: `dot ${name}` }), `${called(name)} `, el("b", {}, count(number))));
  if ("appended" in latest) shown.push(el("span", { title: "records appended per second" }, el("b", {}, rate(total))), spark(totals));
  $("totals").replaceChildren(...shown);
  $("who").textContent = latest.user && latest.user !== "anonymous" ? latest.user : "";
}

function spark(samples) {
  const space = "http://www.w3.org/2000/svg";
  const made = document.createElementNS(space, "svg");
  made.setAttribute("class", "spark");
  made.setAttribute("viewBox", `0 0 ${SAMPLES - 1} 20`);
  made.setAttribute("preserveAspectRatio", "none");
  made.setAttribute("aria-hidden", "true");
  if (!samples?.length || !samples.some((one) => one)) return made;
  const most = Math.max(...samples);
  const points = samples.map((one, at) => `${SAMPLES - samples.length + at},${(19 - (17 * one) / most).toFixed(1)}`);
  const area = document.createElementNS(space, "polygon");
  area.setAttribute("points", `${SAMPLES - samples.length},20 ${points.join(" ")} ${SAMPLES - 1},20`);
  const line = document.createElementNS(space, "polyline");
  line.setAttribute("points", points.join(" "));
  made.append(area, line);
  return made;
}

const internal = () => sessionStorage.getItem("internal") === "1";
let loading = null;

async function load() {
  loading ??= (async () => {
    try {
      const seen = new Set();
      let after;
      do {
        const page = await ask(url("/api/streams", { after, limit: 500, internal: internal() ? 1 : undefined }));
        for (const one of page.streams) seen.add(one.name), streams.set(one.name, { rate: 0, ...streams.get(one.name), ...one });
        after = page.next;
      } while (after);
      for (const name of streams.keys()) if (!seen.has(name)) streams.delete(name);
    } catch (error) {
      note(error.message);
    }
    loading = null;
    for (const each of watchers) each({});
  })();
  return loading;
}

async function refresh(name) {
  const hidden = name.startsWith("_thalweg/");
  const found = await ask(url("/api/streams", { match: name, limit: 1, internal: hidden ? 1 : undefined })).catch(() => null);
  if (found?.streams.length) streams.set(name, { ...streams.get(name), ...found.streams[0] });
  for (const each of watchers) each({});
  return streams.get(name);
}

// ---------------------------------------------------------------- bytes

const bytesOf = (shown) => (typeof shown === "string" ? new TextEncoder().encode(shown) : Uint8Array.from(atob(shown.base64), (sign) => sign.charCodeAt(0)));
const isText = (shown) => typeof shown === "string";
const oneLine = (text) => text.slice(0, 400).replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029]/g, (sign) => ({ "\n": "⏎", "\t": "→", "\r": "" })[sign] ?? "·");

function hex(bytes, most = 65536) {
  const lines = [];
  for (let at = 0; at < Math.min(bytes.length, most); at += 16) {
    const part = bytes.subarray(at, Math.min(at + 16, most));
    const digits = Array.from(part, (byte) => byte.toString(16).padStart(2, "0"));
    const signs = Array.from(part, (byte) => (byte >= 32 && byte < 127 ? String.fromCharCode(byte) : "·")).join("");
    lines.push(`${at.toString(16).padStart(8, "0")}  ${digits.slice(0, 8).join(" ").padEnd(23)}  ${digits.slice(8).join(" ").padEnd(23)}  ${signs}`);
  }
  if (bytes.length > most) lines.push(`… ${count(bytes.length - most)} bytes more`);
  return lines.join("\n");
}

/** Pretty JSON, coloured; null where it is none. */
function coloured(text) {
  let pretty;
  try {
    pretty = JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return null;
  }
  if (pretty.length > 200000) return [pretty];
  const parts = [];
  let end = 0;
  for (const found of pretty.matchAll(/("(?:[^"\\]|\\.)*")(\s*:)?|\b(?:true|false|null)\b|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g)) {
    parts.push(pretty.slice(end, found.index));
    const kind = found[1] ? (found[2] ? "name" : "string") : /^[tfn]/.test(found[0]) ? "word" : "number";
    parts.push(el("span", { class: `json-${kind}` }, found[1] ?? found[0]));
    end = found.index + (found[1] ?? found[0]).length;
  }
  parts.push(pretty.slice(end));
  return parts;
}

function shown(value, form) {
  if (value === null || value === undefined) return el("pre", { class: "value none" }, "no value: a tombstone");
  const text = isText(value) ? value : null;
  if (form === "hex" || (form !== "text" && text === null)) return el("pre", { class: "value hex" }, hex(bytesOf(value)));
  if (form === "json" && text !== null) {
    const parts = coloured(text);
    return parts ? el("pre", { class: "value" }, parts) : el("pre", { class: "value" }, text);
  }
  return el("pre", { class: "value" }, text ?? new TextDecoder().decode(bytesOf(value)));
}

function preview(record) {
  if (record.value === null || record.value === undefined) return el("td", { class: "none" }, "null");
  const cell = el("td", {}, isText(record.value) ? oneLine(record.value) : Array.from(bytesOf(record.value).subarray(0, 40), (byte) => byte.toString(16).padStart(2, "0")).join(" "));
  if (!isText(record.value)) cell.prepend(el("span", { class: "tag" }, "binary"), " ");
  if (record.value === "") cell.append(el("span", { class: "none" }, "empty"));
  return cell;
}

// ---------------------------------------------------------------- a table of messages, the newest first

const gap = (record) => el("tr", { class: "gap" }, el("td", { colspan: 4 }, `${many(record.passed_over, "message")} passed over: more than can be looked at`));

class Messages {
  constructor(options) {
    this.options = options; // {stream, partitions, empty}
    this.form = localStorage.getItem("form") ?? "json";
    this.body = el("tbody", { id: "messages" });
    this.more = el("div", { class: "more" });
    this.waiting = el("div", { class: "waiting" });
    this.empty = el("div", { class: "empty" });
    this.box = el("div", { class: "messages" },
      this.waiting,
      el("table", {}, el("thead", {}, el("tr", {}, el("th", { class: "position" }, "Position"), el("th", { class: "time" }, "Time"), el("th", { class: "address" }, "Address"), el("th", {}, "Value"))), this.body),
      this.empty, this.more);
    this.queue = [];
    this.paused = false;
    this.box.addEventListener("scroll", () => this.box.scrollTop < 8 && this.flush());
  }

  /** Newest last. */
  add(records, fresh) {
    for (const record of records) this.queue.push([record, fresh]);
    if (this.queue.length > SHOWN_MAX) this.queue.splice(0, this.queue.length - SHOWN_MAX);
    if (this.due) return;
    this.due = requestAnimationFrame(() => {
      this.due = 0;
      if (this.box.scrollTop < 8 && !this.paused) this.flush();
      else this.tell();
    });
  }

  tell() {
    const number = this.queue.length;
    this.waiting.replaceChildren(...(number ? [el("button", { type: "button", class: "primary", onclick: () => { this.box.scrollTop = 0; this.flush(); } }, `${number === SHOWN_MAX ? `${number}+` : number} new`)] : []));
  }

  flush() {
    if (this.paused) return this.tell();
    const rows = this.queue.splice(0).reverse().map(([record, fresh]) => ("passed_over" in record ? gap(record) : this.row(record, fresh)));
    this.body.prepend(...rows);
    while (this.body.querySelectorAll("tr.message").length > SHOWN_MAX) this.body.lastChild.remove();
    this.tell();
    this.check();
  }

  append(records) {
    this.body.append(...records.map((record) => this.row(record, false)));
    this.check();
  }

  check() {
    const none = !this.body.children.length;
    this.empty.replaceChildren(...(none ? this.options.empty() : []));
    this.empty.hidden = !none;
  }

  clear() {
    this.queue = [];
    this.body.replaceChildren();
    this.tell();
  }

  row(record, fresh) {
    const place = record.position < 0 ? el("td", { class: "none", title: "kept by no stream" }, "not kept") : el("td", { title: record.partition === undefined ? undefined : `partition ${record.partition}` }, record.partition === undefined ? null : [el("span", { class: "tag" }, `p${record.partition}`), " "], count(record.position));
    const made = el("tr", { class: `message${fresh ? " fresh" : ""}`, tabindex: 0 },
      place,
      el("td", { class: "time", title: new Date(record.time_ms).toISOString() }, clock(record.time_ms)),
      el("td", { title: record.address }, oneLine(record.address)),
      preview(record));
    const toggle = () => this.toggle(made, record);
    made.addEventListener("click", toggle);
    made.addEventListener("keydown", (event) => (event.key === "Enter" || event.key === " ") && (event.preventDefault(), toggle()));
    return made;
  }

  toggle(row, record) {
    if (row.classList.toggle("open")) row.after(el("tr", {}, el("td", { class: "detail", colspan: 4 }, this.detail(record))));
    else row.nextSibling.remove();
  }

  detail(record) {
    const facts = el("dl");
    const fact = (name, value) => facts.append(el("dt", {}, name), el("dd", {}, value));
    fact("address", record.address);
    fact("time", new Date(record.time_ms).toISOString());
    if (record.key !== undefined) fact("key", plain(record.key));
    for (const [name, value] of record.headers ?? []) fact(plain(name), plain(value));
    const holder = el("div");
    const draw = () => holder.replaceChildren(shown(record.value, this.form));
    draw();
    this.redraw ??= new Set();
    this.redraw.add(draw);
    const acts = el("div", { class: "tools" });
    if (record.bytes !== undefined && this.options.stream) {
      const whole = el("button", { type: "button", onclick: async () => {
        try {
          const page = await ask(url("/api/records", { stream: this.options.stream, partition: record.partition ?? this.options.partition?.() ?? 0, from: record.position, limit: 1, strict: 1 }));
          if (page.records[0]?.position === record.position) record.value = page.records[0].value;
          delete record.bytes;
          acts.remove();
          draw();
        } catch (error) { note(error.message); }
      } }, "show all of it");
      acts.append(el("span", { class: "none" }, `the first ${size(VALUE_MAX)} of ${size(record.bytes)}`), whole);
    }
    return [facts, holder, acts.children.length ? acts : null].filter(Boolean);
  }

  choice() {
    return choose([["json", "JSON"], ["text", "Text"], ["hex", "Hex"]], this.form, (form) => {
      this.form = form;
      localStorage.setItem("form", form);
      for (const draw of this.redraw ?? []) draw();
    });
  }
}

const plain = (value) => (value === null ? "null" : isText(value) ? value : Array.from(bytesOf(value), (byte) => byte.toString(16).padStart(2, "0")).join(" "));

function choose(options, chosen, act) {
  const made = el("div", { class: "choice", role: "group" });
  for (const [value, words] of options)
    made.append(el("button", { type: "button", "aria-pressed": String(value === chosen), "data-value": value, onclick: (event) => {
      for (const other of made.children) other.setAttribute("aria-pressed", String(other === event.currentTarget));
      act(value);
    } }, words));
  return made;
}

function publisher(address, opened) {
  const where = el("input", { type: "text", name: "address", value: address, required: true, spellcheck: "false", autocomplete: "off" });
  const value = el("textarea", { name: "value", rows: 3, spellcheck: "false" });
  const headers = el("textarea", { name: "headers", rows: 3, spellcheck: "false", placeholder: "name: value" });
  const told = el("output");
  const send = async (event) => {
    event.preventDefault();
    const pairs = headers.value.split("\n").filter((line) => line.trim()).map((line) => [line.split(":")[0].trim(), line.split(":").slice(1).join(":").trim()]);
    try {
      const placed = await ask("/api/publish", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ address: where.value, value: value.value, headers: pairs }) });
      told.className = "";
      told.textContent = placed.stream === null ? "published; no stream keeps this address" : `durable in ${placed.stream}${placed.partition ? `, partition ${placed.partition}` : ""} at position ${count(placed.position)}`;
    } catch (error) {
      told.className = "bad";
      told.textContent = error.message;
    }
  };
  return el("details", { class: "publish", open: opened },
    el("summary", {}, "Publish a message"),
    el("form", { class: "form", onsubmit: send },
      el("label", { class: "whole" }, "Address", where),
      el("label", {}, "Value", value),
      el("label", {}, "Headers, one a line", headers),
      el("div", { class: "act whole" }, el("button", { class: "primary", type: "submit" }, "Publish"), told)));
}

// ---------------------------------------------------------------- views: each answers what to do when it is left

function streamsView(chosen) {
  const filter = el("input", { type: "search", class: "grow", placeholder: "Filter streams", value: sessionStorage.getItem("filter") ?? "", "aria-label": "Filter streams" });
  const inside = el("input", { type: "checkbox" });
  inside.checked = internal();
  const order = el("select", { "aria-label": "Order" }, el("option", { value: "name" }, "by name"), el("option", { value: "rate" }, "by rate"), el("option", { value: "records" }, "by records"));
  order.value = sessionStorage.getItem("order") ?? "name";
  const space = el("div", { class: "space" });
  const list = el("nav", { class: "list", "aria-label": "Streams" }, space);
  const summary = el("div", { class: "summary" });
  const pane = el("section", { class: "pane" });
  const side = el("aside", { class: "side" },
    el("div", { class: "tools" }, filter, el("button", { type: "button", title: "Make a stream", onclick: makeStream }, "New")),
    el("div", { class: "tools" }, order, el("label", {}, inside, "internal")),
    summary, list);
  $("view").replaceChildren(el("div", { class: "split" }, side, pane));

  let found = [];
  const arrange = () => {
    const word = filter.value.toLowerCase();
    found = [...streams.values()].filter((one) => one.name.toLowerCase().includes(word));
    const by = { name: () => 0, rate: (a, b) => b.rate - a.rate, records: (a, b) => b.records - a.records }[order.value];
    found.sort((a, b) => by(a, b) || (a.name < b.name ? -1 : 1));
    summary.replaceChildren(el("span", {}, `${count(found.length)}${found.length < streams.size ? ` of ${count(streams.size)}` : ""} ${streams.size === 1 ? "stream" : "streams"}`), el("span", {}, many(found.reduce((sum, one) => sum + (one.records ?? 0), 0), "record")));
    draw();
  };
  const draw = () => {
    space.style.height = `${found.length * ROW}px`;
    const first = Math.max(0, Math.floor(list.scrollTop / ROW) - 4);
    const last = Math.min(found.length, first + Math.ceil((list.clientHeight || 800) / ROW) + 8);
    const rows = found.slice(first, last).map((one, at) => {
      const row = el("a", { class: "row", href: `#/streams/${encodeURIComponent(one.name)}`, title: one.name, "data-stream": one.name, "aria-current": String(one.name === chosen) },
        el("div", { class: "name" }, one.name),
        el("div", { class: `rate${one.rate ? " moving" : ""}` }, rate(one.rate ?? 0)),
        el("div", { class: "sub" }, `${many(one.records, "record")} · ${size(one.bytes ?? 0)}${one.partitions?.length > 1 ? ` · ${one.partitions.length} partitions` : ""}`),
        spark(rates.get(one.name)));
      row.style.top = `${(first + at) * ROW}px`;
      return row;
    });
    const focused = document.activeElement?.dataset?.stream;
    space.replaceChildren(...rows);
    if (focused) rows.find((row) => row.dataset.stream === focused)?.focus({ preventScroll: true });
    if (!found.length) space.replaceChildren(el("div", { class: "empty" }, streams.size ? "No stream has this in its name." : ""));
  };
  list.addEventListener("scroll", draw);
  const seen = new ResizeObserver(draw);
  seen.observe(list);
  filter.addEventListener("input", () => (sessionStorage.setItem("filter", filter.value), arrange()));
  order.addEventListener("change", () => (sessionStorage.setItem("order", order.value), arrange()));
  inside.addEventListener("change", async () => {
    sessionStorage.setItem("internal", inside.checked ? "1" : "0");
    hush();
    await load();
    listen();
  });
  let leave = null;
  let told = "";
  const watch = () => {
    arrange();
    const what = chosen ? "stream" : streams.size ? "choose" : "none";
    if (what === told) return;
    told = what;
    if (what === "none") pane.replaceChildren(firstSteps());
    if (what === "choose") pane.replaceChildren(el("div", { class: "empty" }, el("h2", {}, "Choose a stream"), "Its messages, old and new, are shown here."));
  };
  watchers.add(watch);
  watch();
  if (chosen) {
    leave = streamPane(pane, chosen);
    requestAnimationFrame(() => {
      const at = found.findIndex((one) => one.name === chosen);
      if (at >= 0 && (at * ROW < list.scrollTop || (at + 1) * ROW > list.scrollTop + list.clientHeight)) list.scrollTop = at * ROW - list.clientHeight / 2;
    });
  }
  return () => (watchers.delete(watch), seen.disconnect(), leave?.());
}

function firstSteps() {
  return el("div", { class: "empty" },
    el("h2", {}, "There are no streams yet"),
    el("p", {}, "Make one here, or let a client do it: a Kafka topic, a JetStream stream and this are the same thing."),
    el("pre", {}, "thalweg streams --create orders\nkcat -b localhost:9092 -L -t orders\necho hello | thalweg pub orders/eu"),
    el("button", { class: "primary", type: "button", onclick: makeStream }, "Make a stream"));
}

function streamPane(pane, name) {
  const facts = el("div", { class: "facts" });
  const heading = el("h1", { title: name }, name);
  const begin = el("select", { "aria-label": "Begin at" }, el("option", { value: `-${PAGE}` }, "newest"), el("option", { value: "earliest" }, "oldest"), el("option", { value: "at" }, "position …"), el("option", { value: "time" }, "time …"));
  const position = el("input", { type: "text", size: 18, hidden: true, "aria-label": "Position or time" });
  const partition = el("select", { "aria-label": "Partition", hidden: true });
  const match = el("input", { type: "search", placeholder: "address: orders/eu/#", "aria-label": "Addresses", spellcheck: "false" });
  const pause = el("button", { type: "button", "aria-pressed": "false" }, "Pause");
  const problem = el("div", { class: "problem", hidden: true });
  const messages = new Messages({
    stream: name,
    partition: () => partition.value || 0,
    empty: () => [el("h2", {}, match.value ? "Nothing of these addresses" : "Nothing here"), el("p", {}, "What is published from now on appears by itself.")],
  });
  pane.replaceChildren(
    el("div", { class: "title" }, heading, el("span", { class: "grow" }), el("button", { type: "button", class: "danger", hidden: name.startsWith("_thalweg/"), onclick: () => removeStream(name) }, "Delete")),
    facts,
    el("div", { class: "tools" }, begin, position, partition, match, el("span", { class: "grow" }), messages.choice(), pause),
    problem, messages.box,
    name.startsWith("_thalweg/") ? el("span") : publisher(name, false));

  const describe = () => {
    const one = streams.get(name);
    if (!one) return;
    const kept = [];
    if (one.retention_ms >= 0) kept.push(span(one.retention_ms));
    if (one.retention_bytes >= 0) kept.push(size(one.retention_bytes));
    if (one.retention_records >= 0) kept.push(`${count(one.retention_records)} records`);
    const fact = (words, value, title) => el("span", { title }, `${words} `, el("b", {}, value));
    const shownFacts = [fact("records", count(one.records)), fact("size", size(one.bytes ?? 0)), fact("now", rate(one.rate ?? 0))];
    if (one.partitions) {
      shownFacts.push(fact("positions", one.partitions.length === 1 ? `${one.records ? `${count(one.partitions[0].start)} – ${count(one.written - 1)}` : "none"}` : `${one.partitions.length} partitions`));
      shownFacts.push(fact("kept", kept.length ? kept.join(" or ") : "for ever"), fact("durability", one.durability));
      if (one.subjects.length) shownFacts.push(fact("takes", one.subjects.slice(0, 3).join(", ") + (one.subjects.length > 3 ? " …" : ""), one.subjects.join("\n")));
    }
    facts.replaceChildren(...shownFacts);
    if (one.partitions?.length > 1 && partition.hidden) {
      partition.append(el("option", { value: "" }, "all partitions"), ...one.partitions.map((each) => el("option", { value: each.partition }, `partition ${each.partition}`)));
      partition.hidden = false;
    }
  };
  watchers.add(describe);
  describe();
  void refresh(name).then((one) => one || fail("there is no such stream, or it is not yours to read"));

  const fail = (words) => {
    problem.textContent = words;
    problem.hidden = !words;
    messages.empty.hidden = Boolean(words) || messages.body.children.length > 0;
  };
  let stop = new AbortController();
  let again = 0;
  const start = async () => {
    stop.abort();
    clearTimeout(again);
    stop = new AbortController();
    const mine = stop;
    messages.clear();
    messages.more.replaceChildren();
    fail("");
    let from = begin.value;
    if (from === "at") from = position.value.trim() || "earliest";
    if (from === "time") {
      const at = Date.parse(position.value);
      if (Number.isNaN(at)) return fail("a time such as 2026-11-20T10:00");
      from = `time:${at}`;
    }
    let oldest = Infinity;
    let first = true;
    const began = Date.now();
    messages.check();
    if (begin.value !== `-${PAGE}`) {
      if (!partition.hidden && partition.value === "") partition.value = "0";
      return onward(from, mine);
    }
    try {
      for await (const lines of follow(url("/api/records", { stream: name, from, format: "ndjson", follow: 1, behind: 1000, partition: partition.value, match: match.value, value_max: VALUE_MAX }), mine.signal)) {
        const records = [];
        for (const one of lines) {
          if ("position" in one) records.push(one), (oldest = Math.min(oldest, one.position));
          else if (one.passed_over) records.push(one);
          else if (one.error) fail(one.error);
          else if (one.skipped) note(`${count(one.skipped)} records are gone: retention was faster`);
        }
        messages.add(records, !first || Date.now() - began > 1000);
        if (first && records.length && (partition.value !== "" || partition.hidden)) {
          first = false;
          back(oldest);
        }
      }
      if (!mine.signal.aborted && problem.hidden) again = setTimeout(start, 1000);
    } catch (error) {
      if (mine.signal.aborted) return;
      fail(error instanceof Refused ? error.message : "the connection was lost; trying again");
      if (!(error instanceof Refused)) again = setTimeout(() => !document.hidden && start(), 2000);
    }
  };
  const onward = async (from, mine) => {
    messages.more.replaceChildren();
    try {
      const page = await ask(url("/api/records", { stream: name, partition: partition.value || 0, from, limit: PAGE, match: match.value, value_max: VALUE_MAX }), { signal: mine.signal });
      messages.append(page.records);
      const act = page.next < page.end ? ["Next", () => onward(page.next, mine)] : ["The end: go on live", () => { begin.value = `-${PAGE}`; position.hidden = true; void start(); }];
      messages.more.replaceChildren(el("button", { type: "button", onclick: act[1] }, act[0]));
    } catch (error) {
      if (!mine.signal.aborted) fail(error.message);
    }
  };
  const back = (before) => {
    const one = streams.get(name);
    const least = one?.partitions?.[Number(partition.value || 0)]?.start ?? 0;
    if (before <= least) return messages.more.replaceChildren(el("span", { class: "none" }, "the beginning"));
    messages.more.replaceChildren(el("button", { type: "button", onclick: async () => {
      try {
        const from = Math.max(least, before - PAGE);
        const page = await ask(url("/api/records", { stream: name, partition: partition.value || 0, from, limit: before - from, match: match.value, value_max: VALUE_MAX }));
        messages.append(page.records.filter((record) => record.position < before).reverse());
        back(from);
      } catch (error) { note(error.message); }
    } }, "Older"));
  };
  begin.addEventListener("change", () => {
    position.hidden = !["at", "time"].includes(begin.value);
    position.placeholder = begin.value === "time" ? "2026-11-20T10:00" : "a position, -100";
    if (position.hidden) void start();
    else position.focus();
  });
  for (const one of [position, match, partition]) one.addEventListener("change", start);
  pause.addEventListener("click", () => {
    messages.paused = !messages.paused;
    pause.setAttribute("aria-pressed", String(messages.paused));
    pause.textContent = messages.paused ? "Go on" : "Pause";
    messages.flush();
  });
  const seen = () => (document.hidden ? stop.abort() : start());
  document.addEventListener("visibilitychange", seen);
  void start();
  return () => {
    document.removeEventListener("visibilitychange", seen);
    watchers.delete(describe);
    stop.abort();
    clearTimeout(again);
  };
}

function liveView(pattern) {
  const wanted = el("input", { type: "text", class: "grow mono", value: pattern ?? "#", spellcheck: "false", "aria-label": "Addresses" });
  const problem = el("div", { class: "problem", hidden: true });
  const messages = new Messages({ empty: () => [el("h2", {}, "Listening"), el("p", {}, "Messages appear as they are published, by any protocol, kept by a stream or not.")] });
  const pause = el("button", { type: "button" }, "Pause");
  $("view").replaceChildren(el("section", { class: "pane grow", id: "live" },
    el("form", { class: "tools", onsubmit: (event) => { event.preventDefault(); location.hash = `#/live/${encodeURIComponent(wanted.value)}`; } },
      el("label", { class: "grow" }, "Addresses", wanted), el("button", { type: "submit", class: "primary" }, "Listen"), messages.choice(), pause),
    problem, messages.box, publisher(pattern && !/[#+]/.test(pattern) ? pattern : "", false)));
  $("live").style.flex = "1";
  pause.addEventListener("click", () => {
    messages.paused = !messages.paused;
    pause.textContent = messages.paused ? "Go on" : "Pause";
    messages.flush();
  });
  let stop = new AbortController();
  let again = 0;
  const start = async () => {
    stop.abort();
    stop = new AbortController();
    const mine = stop;
    messages.check();
    problem.hidden = true;
    try {
      for await (const lines of follow(url("/api/live", { match: pattern ?? "#", most: 1000, value_max: VALUE_MAX }), mine.signal)) {
        messages.add(lines.map((one) => (one.dropped ? { passed_over: one.dropped } : one)).filter((one) => "position" in one || one.passed_over), true);
      }
      if (!mine.signal.aborted) again = setTimeout(start, 1000);
    } catch (error) {
      if (mine.signal.aborted) return;
      problem.textContent = error instanceof Refused ? error.message : "the connection was lost; trying again";
      problem.hidden = false;
      if (!(error instanceof Refused)) again = setTimeout(start, 2000);
    }
  };
  const seen = () => (document.hidden ? stop.abort() : start());
  document.addEventListener("visibilitychange", seen);
  void start();
  return () => (document.removeEventListener("visibilitychange", seen), stop.abort(), clearTimeout(again));
}

/** A view that is asked for again every two seconds while it is seen. */
function polled(path, draw) {
  const box = el("section", { class: "wide" });
  $("view").replaceChildren(box);
  let timer = 0;
  let left = false;
  const turn = async () => {
    clearTimeout(timer);
    if (!document.hidden) {
      try {
        const found = await ask(path());
        if (left) return;
        draw(box, found);
      } catch (error) {
        if (left) return;
        box.replaceChildren(el("div", { class: "problem" }, error.message));
      }
    }
    timer = setTimeout(turn, 2000);
  };
  void turn();
  return [() => ((left = true), clearTimeout(timer)), turn];
}

function groupsView() {
  return polled(() => "/api/groups", (box, { groups, complete }) => {
    if (!groups.length)
      return box.replaceChildren(el("div", { class: "empty" }, el("h2", {}, "Nobody reads yet"), "Kafka consumer groups, JetStream consumers, MQTT sessions and groups of Redis streams are shown here, with how far behind they are."));
    groups.sort((a, b) => (b.lag ?? -1) - (a.lag ?? -1));
    const body = el("tbody", { id: "groups" });
    for (const one of groups) {
      const reads = [...new Set(one.rows.map((row) => row.stream))];
      body.append(el("tr", {},
        el("td", {}, el("span", { class: "kind" }, el("span", { class: `dot ${one.kind}` }), one.kind)),
        el("td", {}, plain(one.name)),
        el("td", {}, one.state),
        el("td", {}, one.members.length ? one.members.map((member) => `${plain(member.name)} ${member.host}`.trim()).join(", ") : el("span", { class: "none" }, one.kind === "kafka" ? "no members" : "")),
        el("td", {}, reads.join(", ") || (one.subscriptions ?? []).map(plain).join(", ")),
        el("td", { class: "number" }, lag(one.lag))));
      if (one.rows.length > 1)
        for (const row of one.rows)
          body.append(el("tr", { class: "inner" }, el("td"), el("td", { colspan: 3 }, `${row.stream} partition ${row.partition}`), el("td", {}, `at ${count(row.position)} of ${count(row.end)}`), el("td", { class: "number" }, lag(row.lag))));
    }
    box.replaceChildren(el("div", { class: "card" }, el("table", {}, el("thead", {}, el("tr", {}, ...["Kind", "Name", "State", "Members", "Reads"].map((words) => el("th", {}, words)), el("th", { class: "number" }, "Lag"))), body)), complete ? "" : el("div", { class: "more none" }, "There are more: not every Redis key was looked at."));
  })[0];
}

const lag = (number) => (number === null ? el("span", { class: "none" }, "not begun") : el("span", { class: `lag ${number ? "behind" : "zero"}` }, count(number)));

function connectionsView(protocol) {
  return polled(() => url("/api/connections", { protocol, limit: 500 }), (box, found) => {
    const all = Object.values(found.count).reduce((sum, one) => sum + one, 0);
    const tab = (name, words, number) => el("a", { class: "button", href: `#/connections${name ? `/${name}` : ""}`, "aria-current": String(name === (protocol ?? "")) }, name ? el("span", { class: `dot ${name}` }) : null, `${words} `, el("b", {}, count(number)));
    const tabs = el("div", { class: "tools tabs" }, tab("", "all", all), ...Object.entries(found.count).map(([name, number]) => tab(name, called(name), number)));
    if (!found.connections.length) return box.replaceChildren(tabs, el("div", { class: "empty" }, el("h2", {}, "Nobody is connected")));
    const body = el("tbody", { id: "connections" }, ...found.connections.map((one) => el("tr", {},
      el("td", {}, el("span", { class: "kind" }, el("span", { class: `dot ${one.protocol}` }), called(one.protocol))),
      el("td", { class: "mono" }, one.peer),
      el("td", {}, one.user === null || plain(one.user) === "anonymous" ? el("span", { class: "none" }, "anonymous") : plain(one.user)),
      el("td", { class: "number" }, span(Math.max(0, found.now_ms - one.began_ms))),
      el("td", { class: "number" }, size(one.in_bytes)),
      el("td", { class: "number" }, size(one.out_bytes)),
      el("td", { class: "number" }, one.waiting_bytes ? size(one.waiting_bytes) : el("span", { class: "none" }, "–")))));
    const shownOf = found.count[protocol] ?? all;
    box.replaceChildren(tabs,
      el("div", { class: "card" }, el("table", {}, el("thead", {}, el("tr", {}, el("th", {}, "Protocol"), el("th", {}, "Peer"), el("th", {}, "User"), ...["Since", "In", "Out", "Unsent"].map((words) => el("th", { class: "number" }, words)))), body)),
      shownOf > found.connections.length ? el("div", { class: "more none" }, `the newest ${count(found.connections.length)} of ${count(shownOf)}`) : "");
  })[0];
}

// ---------------------------------------------------------------- making and deleting

function dialog(title, fields, act, words) {
  const told = el("output");
  const made = el("dialog", {}, el("h2", {}, title),
    el("form", { onsubmit: async (event) => {
      event.preventDefault();
      try {
        await act(new FormData(event.target));
        made.close();
      } catch (error) { told.textContent = error.message; }
    } }, ...fields, told, el("div", { class: "act" }, el("button", { type: "button", onclick: () => made.close() }, "Cancel"), el("button", { class: "primary", type: "submit" }, words))));
  made.addEventListener("close", () => made.remove());
  document.body.append(made);
  made.showModal();
}

function makeStream() {
  dialog("Make a stream", [
    el("label", {}, "Name", el("input", { type: "text", name: "name", required: true, placeholder: "orders", autocomplete: "off", spellcheck: "false" })),
    el("label", {}, "Partitions", el("input", { type: "number", name: "partitions", value: 1, min: 1, max: 1024 })),
    el("label", {}, "Keep records for (hours; empty: for ever)", el("input", { type: "number", name: "hours", min: 0.01, step: "any" })),
  ], async (form) => {
    const wanted = { name: form.get("name"), partitions: Number(form.get("partitions")) };
    if (form.get("hours")) wanted.retention_ms = Math.round(Number(form.get("hours")) * 3600000);
    const one = await ask("/api/streams", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(wanted) });
    streams.set(one.name, { rate: 0, ...one });
    location.hash = `#/streams/${encodeURIComponent(one.name)}`;
  }, "Make it");
}

function removeStream(name) {
  dialog("Delete a stream", [
    el("div", {}, "This deletes ", el("b", {}, name), " and all that it holds. Type its name to say so."),
    el("label", {}, "Name", el("input", { type: "text", name: "name", required: true, autocomplete: "off", spellcheck: "false" })),
  ], async (form) => {
    if (form.get("name") !== name) throw new Refused("that is another name");
    await ask(url("/api/streams", { name }), { method: "DELETE" });
    streams.delete(name);
    location.hash = "#/streams";
  }, "Delete it");
}

// ---------------------------------------------------------------- the frame

let leave = null;

function route() {
  leave?.();
  leave = null;
  const [view, ...rest] = location.hash.replace(/^#\/?/, "").split("/");
  let argument = rest.join("/") || undefined;
  try {
    argument = argument && decodeURIComponent(argument);
  } catch { /* as it is */ }
  const views = { streams: streamsView, live: liveView, groups: groupsView, connections: connectionsView };
  const known = view in views ? view : "streams";
  for (const tab of $("tabs").children) tab.setAttribute("aria-current", tab.getAttribute("href") === `#/${known}` ? "page" : "false");
  document.title = argument && known === "streams" ? `${argument} · Thalweg` : "Thalweg";
  leave = views[known](argument);
}

function theme(chosen) {
  const dark = chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.theme = dark ? "dark" : "light";
}
$("theme").addEventListener("click", () => {
  const next = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
  localStorage.setItem("theme", next);
  theme(next);
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => theme(localStorage.getItem("theme")));
theme(localStorage.getItem("theme"));
addEventListener("hashchange", route);
document.addEventListener("visibilitychange", () => (document.hidden ? hush() : listen()));
route();
listen();
