// A server's engine in forty lines: a prop goes round in a circle, and whoever joins is greeted. Start it, then launch its driver with
// `deno run -A mod.ts launch --manifest examples/room_server.jsonc`.

import { listenForDriver, ReferenceWorld } from "../mod.ts";

const folder = import.meta.dirname!;
const link = await listenForDriver({
  socket: `${folder}/room_server.sock`,
  manifest: `${folder}/room_server.jsonc`,
  world: new ReferenceWorld(),
});
console.log("Waiting for a driver. The world runs all the same.");

link.onDriverReady = (hello) => {
  console.log(`A driver is here. The pin of its certificate:\n${hello.certificateHash}`);
};
link.onJoined = (info) => console.log(`It listens on ${info.listen}.`);
link.onDriverLost = (reason) => console.log(`The driver is lost (${reason}); the world goes on.`);
link.onPlayerJoin = (peer, role) => {
  console.log(`Peer ${peer} joined as ${role}.`);
  link.sendEvent("Announce", { text: `Welcome, peer ${peer}!` }, { to: peer });
};
link.onPlayerLeave = (peer, reason) => console.log(`Peer ${peer} left (${reason}).`);
link.onDenied = (denial) => console.log(`Denied: ${denial.rule}, ${denial.count} times.`);

const prop = link.spawn({ Prop: { position: [3, 1, 0] }, Greeting: { text: "hello" } });
const startedMs = performance.now();
const timer = setInterval(() => {
  const angle = (performance.now() - startedMs) / 1000;
  link.set(prop, "Prop", { position: [3 * Math.cos(angle), 1, 3 * Math.sin(angle)] });
  link.flush();
}, 1000 / 30);

Deno.addSignalListener("SIGINT", async () => {
  clearInterval(timer);
  await link.close();
  Deno.exit(0);
});
