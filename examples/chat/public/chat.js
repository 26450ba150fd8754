const list = document.querySelector("#messages");
const input = document.querySelector("#text");
let socket;
let lastId = 0;

function connect() {
  socket = new WebSocket(`${location.origin.replace(/^http/, "ws")}/chat?after=${lastId}`);
  socket.addEventListener("message", ({ data }) => {
    const { id, text } = JSON.parse(data);
    lastId = id;
    const item = document.createElement("li");
    item.textContent = text;
    list.append(item);
  });
  // A reload closes it: the page comes back to the new version, a little later than the others.
  socket.addEventListener("close", () => setTimeout(connect, 300 + Math.random() * 700));
}

document.querySelector("form").addEventListener("submit", (event) => {
  event.preventDefault();
  if (socket.readyState !== WebSocket.OPEN) return;
  socket.send(input.value);
  input.value = "";
});

connect();
