"use strict";
// A grid of photographs, each accepted, rejected or given another type by one key; every decision is stored at once.

const STATUSES = ["", "unreviewed", "accepted", "rejected", "filtered"];
const UNDO_KEY = "derain-changes";
const state = { type: "", status: "unreviewed", after: "", until: "", page: null, focus: 0 };

function readAddress() {
  const given = new URLSearchParams(location.hash.slice(1));
  for (const name of ["type", "after", "until"]) state[name] = given.get(name) ?? "";
  state.status = given.get("status") ?? "unreviewed";
}

function writeAddress() {
  const { type, status, after, until } = state;
  history.replaceState(null, "", "#" + new URLSearchParams({ type, status, after, until }));
}

async function load(focus = 0) {
  writeAddress();
  const { type, status, after, until } = state;
  try {
    state.page = await ask("/api/references?" + new URLSearchParams({ type, status, after, until }));
  } catch (error) {
    if (!after && !until) throw error;
    Object.assign(state, { after: "", until: "" }); // the photograph that the page starts from is gone
    return load(focus);
  }
  showMessage("");
  drawChoices();
  drawGrid();
  select(focus < 0 ? state.page.entries.length - 1 : focus);
}

function drawChoices() {
  const { statuses, types, labels } = state.page;
  const total = Object.values(statuses).reduce((sum, count) => sum + count, 0);
  element("statuses").replaceChildren(...STATUSES.map((status) => {
    const button = document.createElement("button");
    button.type = "button";
    button.dataset.status = status;
    button.setAttribute("aria-pressed", String(status === state.status));
    const count = document.createElement("b");
    count.textContent = (status ? statuses[status] : total).toLocaleString("en");
    button.append((status || "all") + " ", count);
    button.onclick = () => show({ status });
    return button;
  }));
  const all = Object.values(types).reduce((sum, count) => sum + count, 0);
  const known = { ...types, ...(state.type && { [state.type]: types[state.type] ?? 0 }) };
  const options = [["", all], ...Object.entries(known)].map(([type, count]) => {
    const option = new Option(`${type || "all"} (${count.toLocaleString("en")})`, type, false, type === state.type);
    option.title = labels[type] ?? "";
    return option;
  });
  element("type").replaceChildren(...options);
  if (!element("retype").children.length) drawTypes(Object.entries(labels));
}

function drawTypes(types) {
  element("retype").replaceChildren(...types.map(([type, label], place) => {
    const button = document.createElement("button");
    button.type = "button";
    button.dataset.type = type;
    button.title = `It shows ${label}`;
    const key = document.createElement("kbd");
    key.textContent = place + 1;
    button.append(key, " " + type);
    button.onclick = () => {
      retype(type);
      select(state.focus); // keys go to the photograph again
    };
    return button;
  }));
}

function drawGrid() {
  const { entries, before, total } = state.page;
  element("grid").replaceChildren(...entries.map(drawCard));
  element("empty").hidden = entries.length > 0;
  const last = before + entries.length;
  element("where").textContent = entries.length
    ? `${(before + 1).toLocaleString("en")} to ${last.toLocaleString("en")} of ${total.toLocaleString("en")}` : "none";
  element("previous").disabled = before === 0;
  element("next").disabled = last >= total;
}

function drawCard(entry, place) {
  const card = document.createElement("figure");
  card.tabIndex = -1;
  card.dataset.digest = entry.digest;
  const picture = document.createElement("img");
  picture.src = "/thumbnail/" + entry.digest;
  picture.loading = "lazy";
  const caption = document.createElement("figcaption");
  card.append(picture, caption);
  card.onclick = () => select(place);
  card.ondblclick = look;
  markCard(card, entry);
  return card;
}

function markCard(card, entry) {
  card.dataset.status = entry.status;
  const verdict = document.createElement("strong");
  verdict.textContent = entry.status;
  const reason = document.createElement("span");
  reason.className = "reason";
  reason.textContent = brief(entry.reason);
  const about = document.createElement("span");
  about.textContent = kind(entry);
  card.title = [statusOf(entry), kind(entry), `${entry.name}, quality ${entry.quality}`].join("\n");
  card.querySelector("img").alt = `${state.page.labels[entry.type] ?? "type unknown"}, ${entry.source}`;
  card.querySelector("figcaption").replaceChildren(verdict, ...(entry.reason ? [reason] : []), about);
}

function kind(entry) {
  return `${entry.type || "type unknown"} · ${entry.source} · ${entry.width}×${entry.height}`;
}

function statusOf(entry) {
  return entry.status + (entry.reason && `: ${entry.reason}`);
}

// Digests in reasons are too long to be read.
function brief(reason) {
  return reason.replace(/\b([0-9a-f]{12})[0-9a-f]{52}\b/g, "$1…");
}

function select(place) {
  const cards = element("grid").children;
  if (!cards.length) return;
  state.focus = Math.max(0, Math.min(place, cards.length - 1));
  for (const card of cards) card.classList.remove("selected");
  const card = cards[state.focus];
  card.classList.add("selected");
  card.focus({ preventScroll: true });
  card.scrollIntoView({ block: "nearest" });
}

function show(change) {
  Object.assign(state, { after: "", until: "" }, change);
  return inTurn(() => load());
}

function turn(forward) {
  const { entries, before, total } = state.page;
  if (!entries.length || (forward ? before + entries.length >= total : before === 0)) return;
  state.after = forward ? entries.at(-1).digest : "";
  state.until = forward ? "" : entries[0].digest;
  return load(forward ? 0 : -1);
}

function undoList() {
  return JSON.parse(sessionStorage.getItem(UNDO_KEY) ?? "[]");
}

// What is sent is either { status, reason } or { type }; returns what it was before, to be sent again by undo.
async function send(digest, change) {
  const path = "type" in change ? "/api/type" : "/api/status";
  const shown = new URLSearchParams({ type: state.type, status: state.status });
  const { before, statuses, types } = await ask(`${path}?${shown}`, { digest, ...change });
  showMessage("");
  Object.assign(state.page, { statuses, types });
  drawChoices();
  const place = state.page.entries.findIndex((entry) => entry.digest === digest);
  if (place >= 0) {
    Object.assign(state.page.entries[place], change);
    markCard(element("grid").children[place], state.page.entries[place]);
    if (element("look").open && place === state.focus) drawAbout(state.page.entries[place]);
  }
  return { before: Object.fromEntries(Object.keys(change).map((name) => [name, before[name]])), place };
}

function change(entry, what) {
  return inTurn(async () => {
    if (what.type === entry.type && what.type) return; // it is of that type already
    const { before } = await send(entry.digest, what);
    const done = [...undoList(), { digest: entry.digest, change: before }];
    sessionStorage.setItem(UNDO_KEY, JSON.stringify(done.slice(-500)));
  });
}

function decide(status) {
  const entry = state.page?.entries[state.focus];
  if (!entry) return;
  change(entry, { status, reason: status === "rejected" ? element("reason").value : "" });
  select(state.focus + 1);
}

function retype(type) {
  const entry = state.page?.entries[state.focus];
  if (entry) change(entry, { type });
}

function undo() {
  return inTurn(async () => {
    const done = undoList();
    const last = done.pop();
    if (!last) return showMessage("There is nothing to undo.");
    const { place } = await send(last.digest, last.change);
    sessionStorage.setItem(UNDO_KEY, JSON.stringify(done));
    if (place >= 0) select(place);
  });
}

async function look() {
  const entry = state.page.entries[state.focus];
  if (!entry) return;
  element("large").src = "/picture/" + entry.digest;
  element("large").alt = entry.name;
  element("described").textContent = "";
  drawAbout(entry);
  element("look").showModal();
  try {
    const record = await ask("/api/record/" + entry.digest);
    if (state.page.entries[state.focus] !== entry) return; // another is looked at by now
    const words = [record.caption, record.keywords.join(", "), record.path];
    element("described").textContent = words.filter(Boolean).join(" · ");
  } catch (error) {
    element("described").textContent = error.message;
  }
}

function drawAbout(entry) {
  element("status").textContent = statusOf(entry);
  element("kind").textContent = `${kind(entry)} · quality ${entry.quality}`;
}

function columns() {
  const cards = [...element("grid").children];
  const first = cards[0]?.offsetTop;
  const wrapped = cards.findIndex((card) => card.offsetTop !== first);
  return wrapped < 0 ? cards.length : wrapped;
}

function move(step) {
  const place = state.focus + step;
  if (place >= state.page.entries.length && step === 1) return inTurn(() => turn(true));
  if (place < 0 && step === -1) return inTurn(() => turn(false));
  select(place);
}

const KEYS = {
  ArrowRight: () => move(1),
  ArrowLeft: () => move(-1),
  ArrowDown: () => move(columns()),
  ArrowUp: () => move(-columns()),
  a: () => decide("accepted"),
  r: () => decide("rejected"),
  u: undo,
  ...Object.fromEntries([0, 1, 2, 3].map((place) => [place + 1, () => retype(Object.keys(state.page.labels)[place])])),
  Enter: look,
  n: () => inTurn(() => turn(true)),
  p: () => inTurn(() => turn(false)),
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || !state.page) return;
  if (["SELECT", "BUTTON"].includes(event.target.tagName) && !/^[arunp1-4]$/.test(event.key)) return;
  if (event.target.tagName === "SELECT" || (element("look").open && !/^[aru1-4]$/.test(event.key))) return;
  const action = KEYS[event.key];
  if (!action) return;
  event.preventDefault();
  if (element("look").open && !/^[1-4]$/.test(event.key)) element("look").close();
  action();
});
element("look").onclick = () => element("look").close();
element("type").onchange = (event) => {
  event.target.blur();
  show({ type: event.target.value });
};
element("reason").onchange = (event) => event.target.blur();
element("accept").onclick = () => decide("accepted");
element("reject").onclick = () => decide("rejected");
element("undo").onclick = undo;
element("previous").onclick = () => inTurn(() => turn(false));
element("next").onclick = () => inTurn(() => turn(true));
readAddress();
inTurn(() => load());
