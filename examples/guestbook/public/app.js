// The page works without this file. It adds live entries, times of the visitor's own place, and a look
// at the photo before it is sent.

const MAX_PHOTO_BYTES = 5 * 1024 * 1024;
const MAX_LIVE_CARDS = 200;

const localFormat = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
showLocalTimes(document);

const list = document.querySelector("#entries");
if (list?.dataset.liveAfter !== undefined) followEntries(list);

const photoInput = document.querySelector("#photo");
if (photoInput) previewPhoto(photoInput);

function followEntries(list) {
  // The address says what this page already shows, so nothing falls between loading and listening.
  const events = new EventSource(`/events?after=${encodeURIComponent(list.dataset.liveAfter)}`);
  events.addEventListener("entry", ({ data }) => {
    // The server escaped the fragment, and the content security policy forbids inline scripts.
    const template = document.createElement("template");
    template.innerHTML = data;
    const card = template.content.querySelector(".card");
    if (!card || document.getElementById(card.id)) return;
    document.querySelector("#empty")?.remove();
    showLocalTimes(card);
    card.classList.add("is-new");
    list.prepend(card);
    while (list.children.length > MAX_LIVE_CARDS) list.lastElementChild.remove();
    document.querySelector("#announcer").textContent = `${card.dataset.name} signed the guestbook`;
  });
}

/** The server knows no visitor's time zone: what it writes is UTC, and says so. */
function showLocalTimes(within) {
  for (const time of within.querySelectorAll("time[datetime]")) {
    time.title = time.textContent;
    time.textContent = localFormat.format(new Date(time.dateTime));
  }
}

function previewPhoto(input) {
  const problem = document.querySelector("#photo-problem");
  const picker = input.closest(".photo-picker");
  const figure = document.createElement("figure");
  const image = document.createElement("img");
  const remove = document.createElement("button");
  figure.className = "preview";
  figure.hidden = true;
  image.alt = "Your photo";
  remove.type = "button";
  remove.textContent = "Remove photo";
  figure.append(image, remove);
  picker.append(figure);

  remove.addEventListener("click", () => {
    input.value = "";
    show(undefined);
    input.focus();
  });
  image.addEventListener("error", () => {
    if (image.getAttribute("src")) figure.hidden = true;
  });
  input.addEventListener("change", () => show(input.files[0]));
  // Coming back with the Back button, a browser may still hold the chosen file.
  if (input.files[0]) show(input.files[0]);

  function show(file) {
    URL.revokeObjectURL(image.src);
    const isTooLarge = file !== undefined && file.size > MAX_PHOTO_BYTES;
    const text = isTooLarge ? "This photo is larger than 5 MiB. Please choose a smaller one." : "";
    input.setCustomValidity(text);
    input.setAttribute("aria-invalid", String(isTooLarge));
    problem.textContent = text;
    figure.hidden = file === undefined || isTooLarge;
    if (figure.hidden) image.removeAttribute("src");
    else image.src = URL.createObjectURL(file);
  }
}
