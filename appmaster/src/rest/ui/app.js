"use strict";
// Asks the REST interface every few seconds and shows what it says. All addresses are relative to this page, which may
// stand under a proxy; all texts are set as texts, never as HTML.

const REFRESH_MS = 2000;
const ANSWER_MS = 10000;
// A refresh that fails may be a moment's trouble; so many in a row are not.
const FAILURES_MAX = 2;
// Where the page may go on: its policy lets it look whether somebody is there. Another place needs the page anew.
const ELSEWHERE = document.querySelector("meta[name=elsewhere]").content;
const TERMINAL = new Set(["FINISHED", "FAILED", "CANCELED"]);
const byId = (id) => document.getElementById(id);

async function ask(path) {
  const answer = await fetch(path, { cache: "no-store", signal: AbortSignal.timeout(ANSWER_MS) });
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return answer.json();
}

function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children.filter((child) => child !== null));
  return made;
}

function span(ms) {
  if (ms < 0) return "–";
  const s = Math.floor(ms / 1000);
  const parts = [[86400, "d"], [3600, "h"], [60, "m"], [1, "s"]].map(([unit, name], i, all) =>
    [Math.floor((i ? s % all[i - 1][0] : s) / unit), name]);
  const first = parts.findIndex(([n]) => n > 0);
  if (first < 0) return `${ms} ms`;
  return parts.slice(first, first + 2).map(([n, name]) => `${n}${name}`).join(" ");
}

function bytes(n) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let i = 0;
  while (n >= 1024 && i < units.length - 1) { n /= 1024; i += 1; }
  return `${i && n < 10 ? n.toFixed(1) : Math.round(n)} ${units[i]}`;
}

const count = (n) => n.toLocaleString("en");
const cell = (text, numeric = false) => element("td", { className: numeric ? "n" : "" }, text);
const state = (name) => element("span", { className: `state ${name}` }, name);

function vertexRow(vertex) {
  const done = Object.entries(vertex.tasks).filter(([, n]) => n > 0).map(([name, n]) => `${n} ${name.toLowerCase()}`);
  const m = vertex.metrics;
  return element("tr", {},
    cell(vertex.name), element("td", {}, state(vertex.status)), cell(done.join(", ")),
    cell(count(m["read-records"]), true), cell(count(m["write-records"]), true),
    cell(bytes(m["read-bytes"]), true), cell(bytes(m["write-bytes"]), true),
    cell(span(vertex.duration), true));
}

const HEAD = ["Vertex", "State", "Subtasks", "Records in", "Records out", "Bytes in", "Bytes out", "Duration"];

function jobCard(job, exceptions, progress) {
  const over = TERMINAL.has(job.state);
  const head = element("div", { className: "job-head" },
    element("h2", {}, job.name), state(job.state),
    element("span", { className: "quiet" }, span(job.duration)),
    element("span", { className: "id" }, job.jid),
    over ? null : element("button", { type: "button", onclick: () => cancel(job) }, "Cancel"));
  const rows = element("table", {},
    element("thead", {}, element("tr", {}, ...HEAD.map((text, i) => element("th", { className: i > 2 ? "n" : "" }, text)))),
    element("tbody", {}, ...job.vertices.map(vertexRow)));
  const read = progress["splits-total"] === 0 ? null : element("div", {},
    element("progress", { max: 1, value: progress.progress ?? 0 }),
    element("span", { className: "quiet" }, `${count(progress["splits-done"])} of ${count(progress["splits-total"])} splits read`));
  const latest = exceptions.exceptionHistory.entries[0];
  const shown = job.state === "FINISHED" || job.state === "CANCELED" ? null : exceptions["root-exception"];
  const failure = !shown || !latest ? null
    : element("p", { className: "failure" }, `${new Date(latest.timestamp).toLocaleString()}\n${shown}`);
  return element("article", { className: "job" }, head, read, failure, rows);
}

async function cancel(job) {
  const token = prompt(`Cancel ${job.name}? Its token, from the application's staging directory:`);
  if (!token) return;
  // A PUT with the token in its body, because YARN's proxy drops the Authorization header.
  const answer = await fetch(`jobs/${job.jid}/yarn-cancel`, { method: "PUT", body: JSON.stringify({ token }) });
  if (!answer.ok) alert((await answer.json()).errors.join("\n"));
  refresh();
}

function taskManagerRow(tm) {
  const total = tm.hardware.physicalMemory;
  return element("tr", {},
    element("td", { className: "id" }, tm.id), cell(tm.path),
    cell(`${tm.freeSlots} / ${tm.slotsNumber}`, true),
    cell(`${bytes(total - tm.hardware.freeMemory)} / ${bytes(total)}`, true),
    cell(`${span(Math.max(0, Date.now() - tm.timeSinceLastHeartbeat))} ago`, true));
}

async function show() {
  const [overview, jobs, tms] = await Promise.all([ask("overview"), ask("jobs"), ask("taskmanagers")]);
  const cards = await Promise.all(jobs.jobs.map(({ id }) =>
    Promise.all([ask(`jobs/${id}`), ask(`jobs/${id}/exceptions`), ask(`jobs/${id}/progress`)])));
  byId("version").textContent = overview["flink-version"];
  byId("running").textContent = overview["jobs-running"];
  byId("finished").textContent = overview["jobs-finished"];
  byId("cancelled").textContent = overview["jobs-cancelled"];
  byId("failed").textContent = overview["jobs-failed"];
  byId("taskmanagers").textContent = overview.taskmanagers;
  byId("slots").textContent = `${overview["slots-available"]} / ${overview["slots-total"]}`;
  byId("jobs").replaceChildren(...cards.map((card) => jobCard(...card)));
  byId("tm-rows").replaceChildren(...tms.taskmanagers.map(taskManagerRow));
  document.title = cards.length ? `${cards[0][0].state} · ${cards[0][0].name} · Flumen` : "Flumen";
}

// Goes to the other JobManager of this application if that one is there. What it answers can't be read, and need not be.
async function goOnElsewhere() {
  if (!ELSEWHERE) return;
  const look = { mode: "no-cors", cache: "no-store", signal: AbortSignal.timeout(REFRESH_MS) };
  if (await fetch(`${ELSEWHERE}/ui/style.css`, look).then(() => true, () => false)) location.replace(`${ELSEWHERE}/`);
}

let timer;
let failures = 0;
async function refresh() {
  clearTimeout(timer);
  try {
    await show();
    failures = 0;
    byId("connection").textContent = "";
  } catch (error) {
    failures += 1;
    byId("connection").textContent = `The JobManager does not answer (${error.message})`;
  }
  const told = await ask("jobmanager/elsewhere").then(({ address }) => address, () => null);
  if (told && told !== ELSEWHERE) location.reload();
  else if (failures >= FAILURES_MAX) await goOnElsewhere();
  timer = setTimeout(refresh, REFRESH_MS);
}
refresh();
