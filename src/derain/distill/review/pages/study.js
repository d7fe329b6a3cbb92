"use strict";
// A person votes on pairs without knowing what became of them.

const NAME_KEY = "derain-person";
const state = { person: "", pairs: [], place: 0 };

async function begin(name) {
  const study = await ask("/api/study?" + new URLSearchParams({ person: name }));
  Object.assign(state, { person: study.person, pairs: study.pairs });
  localStorage.setItem(NAME_KEY, study.person);
  showMessage("");
  element("question").textContent = study.question;
  element("welcome").hidden = true;
  const open = state.pairs.findIndex((pair) => pair.real === null);
  if (open < 0) finish();
  else show(open);
}

function show(place) {
  state.place = place;
  const pair = state.pairs[place];
  element("done").hidden = true;
  element("voting").hidden = false;
  element("pair").replaceChildren(
    picture(`${pair.key}/rainy`, "with rain"), ...(pair.clean ? [picture(`${pair.key}/clean`, "without rain")] : []));
  element("references").hidden = true;
  element("references").replaceChildren();
  element("compare").disabled = pair.references === 0;
  element("checks").replaceChildren(...pair.checks.map((check) => {
    const item = document.createElement("li");
    item.textContent = check;
    return item;
  }));
  mark();
  const next = state.pairs[place + 1];
  if (next) for (const name of ["rainy", ...(next.clean ? ["clean"] : [])]) new Image().src = `/picture/${next.key}/${name}`;
}

function mark() {
  const voted = state.pairs.filter((pair) => pair.real !== null).length;
  element("where").textContent = `pair ${state.place + 1} of ${state.pairs.length}, ${voted} voted, ${state.person}`;
  element("progress").value = voted / state.pairs.length;
  const real = state.pairs[state.place].real;
  element("yes").setAttribute("aria-pressed", String(real === true));
  element("no").setAttribute("aria-pressed", String(real === false));
  element("back").disabled = state.place === 0;
}

function picture(name, label) {
  const figure = document.createElement("figure");
  const image = document.createElement("img");
  image.src = "/picture/" + name;
  image.alt = label;
  image.onclick = () => {
    element("large").src = image.src;
    element("large").alt = label;
    element("look").showModal();
  };
  image.onerror = () => showMessage("A picture cannot be shown; its file was moved or is broken.");
  const caption = document.createElement("figcaption");
  caption.textContent = label;
  figure.append(image, caption);
  return figure;
}

function vote(real) {
  const { person, pairs, place } = state; // as they are now; another person may have come when the turn does
  const pair = pairs[place];
  return inTurn(async () => {
    await ask("/api/vote", { person, pair: pair.key, real });
    showMessage("");
    pair.real = real;
    if (state.pairs[state.place] === pair) advance();
  });
}

function advance() {
  if (state.place + 1 < state.pairs.length) return show(state.place + 1);
  const open = state.pairs.findIndex((pair) => pair.real === null);
  if (open < 0) finish();
  else show(open);
}

function back() {
  if (state.place > 0) show(state.place - 1);
}

function compare() {
  const pair = state.pairs[state.place];
  const list = element("references");
  if (!pair.references) return;
  if (!list.childElementCount) {
    for (let place = 0; place < pair.references; place++) list.append(picture(`${pair.key}/reference/${place}`, "a real photograph"));
  }
  list.hidden = !list.hidden;
}

function finish() {
  element("voting").hidden = true;
  element("done").hidden = false;
  element("summary").textContent = `All ${state.pairs.length} votes of ${state.person} are stored. You can close this page.`;
}

// Forget who voted here; the votes stay, and the same name resumes them.
function leave() {
  return inTurn(async () => {
    localStorage.removeItem(NAME_KEY);
    Object.assign(state, { person: "", pairs: [], place: 0 });
    showMessage("");
    element("voting").hidden = true;
    element("done").hidden = true;
    element("pair").replaceChildren();
    element("name").value = "";
    element("welcome").hidden = false;
    element("name").focus();
  });
}

const KEYS = { y: () => vote(true), n: () => vote(false), r: compare, ArrowLeft: back, ArrowRight: advance };

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || element("voting").hidden) return;
  if (element("look").open) return;
  const action = KEYS[event.key];
  if (!action) return;
  event.preventDefault();
  action();
});
element("welcome").onsubmit = (event) => {
  event.preventDefault();
  inTurn(() => begin(element("name").value));
};
element("yes").onclick = () => vote(true);
element("no").onclick = () => vote(false);
element("back").onclick = back;
element("forward").onclick = advance;
element("compare").onclick = compare;
element("again").onclick = () => show(0);
for (const button of document.querySelectorAll(".another")) button.onclick = leave;
element("look").onclick = () => element("look").close();
const known = localStorage.getItem(NAME_KEY);
if (known) inTurn(() => begin(known));
