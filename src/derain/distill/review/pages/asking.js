"use strict";
// Ask the server, and show on the page what went wrong.

const TOKEN = document.querySelector("meta[name=derain-token]").content;

function element(id) {
  return document.getElementById(id);
}

function showMessage(message) {
  const place = element("message");
  place.textContent = message;
  place.hidden = !message;
  if (message && element("look").open) element("look").close(); // it would hide the message
}

async function ask(path, sent) {
  const options = sent === undefined ? {} : {
    method: "POST",
    headers: { "Content-Type": "application/json", "X-Derain-Token": TOKEN },
    body: JSON.stringify(sent),
  };
  let response;
  try {
    response = await fetch(path, options);
  } catch {
    throw new Error("The server does not answer; start `derain distill review` again and reload this page.");
  }
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.message);
  return answer;
}

// What is sent goes one after the other, in the order of the clicks.
let queue = Promise.resolve();
function inTurn(work) {
  queue = queue.then(work).catch((error) => showMessage(error.message));
  return queue;
}
