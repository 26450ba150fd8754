/** Pieces of apps whose answers do not end. */

/** The statements that answer a request with events without end. */
export const ANSWER_EVENTS = `
    let timer;
    const body = new ReadableStream({
      start(controller) {
        const send = () => controller.enqueue(new TextEncoder().encode("data: x\\n\\n"));
        send();
        timer = setInterval(send, 50);
      },
      cancel: () => clearInterval(timer),
    });
    return new Response(body, { headers: { "content-type": "text/event-stream" } });`;

/** The statements that make a WebSocket of a `socket` of node:http by its `request`. */
export const SHAKE_HANDS = `
  const accept = createHash("sha1").update(request.headers["sec-websocket-key"] +
    "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest("base64");
  socket.write("HTTP/1.1 101 Switching Protocols\\r\\nupgrade: websocket\\r\\nconnection: Upgrade\\r\\n" +
    "sec-websocket-accept: " + accept + "\\r\\n\\r\\n");`;
