// A client's engine in forty lines: it has an avatar that stands still, and prints what it sees of the room once a second. Its word on
// the command line is the pin that hello_server.ts prints. Then launch its driver with examples/room_client.jsonc.

import { listenForDriver, ReferenceWorld } from "../mod.ts";

const pin = Deno.args[0];
if (pin === undefined || !/^[0-9a-f]{64}$/.test(pin)) {
  console.error("Give the pin that hello_server.ts prints: hello_client.ts <64 hex digits>");
  Deno.exit(2);
}

const folder = import.meta.dirname!;
const link = await listenForDriver({
  socket: `${folder}/room_client.sock`,
  manifest: `${folder}/room_client.jsonc`,
  world: new ReferenceWorld(),
  connect: { url: "quic://127.0.0.1:4433", pin, credential: new Uint8Array(0) },
});
console.log("Waiting for a driver.");

link.onJoined = (info) => {
  const how = info.resumed ? "Resumed" : "Joined";
  console.log(`${how} as peer ${info.peer}, role ${info.role}.`);
};
link.onLeft = (_code, reason) => console.log(`The connection ended: ${reason}`);
link.onDriverLost = (reason) => console.log(`The driver is lost (${reason}).`);
link.onEvent = (name, values) => console.log(`Event ${name}: ${JSON.stringify(values)}`);
link.onSpawn = (handle, owner) => console.log(`Entity ${handle} of peer ${owner} is here.`);

let toldMs = 0;
link.onRemoteChange = (handle, component, values) => {
  if (component === "Prop" && performance.now() - toldMs < 1000) return;
  toldMs = performance.now();
  console.log(`Entity ${handle}, ${component}: ${JSON.stringify(values)}`);
};

link.spawn({ Avatar: { body: [0, 1, 0], head: [0, 1.7, 0] }, Name: { text: "visitor" } });
const timer = setInterval(() => link.flush(), 1000 / 30);

Deno.addSignalListener("SIGINT", async () => {
  clearInterval(timer);
  await link.close();
  Deno.exit(0);
});
