// Publishes with npm's sparkplug-client: `sparkplug.cjs PORT BASE_MS N`. Value k = 100 + k/2 at BASE_MS + k * 10 s.
// Answers rebirth requests, skips a sequence number once, and leaves on a line on stdin.
const [port, base, n] = process.argv.slice(2).map(Number);
const at = k => base + 10000 * k, v = k => 100 + k / 2;
const client = require("sparkplug-client").newClient({
  serverUrl: `tcp://127.0.0.1:${port}`, username: "", password: "", groupId: "hall", edgeNode: "js", clientId: `js-${process.pid}`, version: "spBv1.0", publishDeath: true,
});
const metric = (name, type, value, k) => ({ name, type, value, timestamp: at(k) });
let rebirths = 0;
const birth = k => {
  client.publishNodeBirth({ timestamp: at(k), metrics: [metric("Power", "Double", v(k), k), { name: "Node Control/Rebirth", type: "Boolean", value: false }] });
  client.publishDeviceBirth("cdu2", { timestamp: at(k), metrics: [metric("Valve", "Int16", k - 5, k), metric("Supply Temperature", "Float", v(k), k)] });
};
const data = k => {
  client.publishNodeData({ timestamp: at(k), metrics: [metric("Power", "Double", v(k), k)] });
  client.publishDeviceData("cdu2", { timestamp: at(k), metrics: [metric("Valve", "Int16", k - 5, k), metric("Supply Temperature", "Float", v(k), k)] });
};
client.on("birth", () => birth(rebirths++ ? n : 0));
client.on("ncmd", payload => { if (payload.metrics.some(m => m.name === "Node Control/Rebirth" && m.value)) { console.log("rebirth asked"); rebirths++; birth(n); } });
client.on("connect", () => setTimeout(() => {
  for (let k = 1; k < n; k++) data(k);
  console.log("published");
}, 1000));
require("readline").createInterface({ input: process.stdin }).on("line", line => {
  if (line === "gap") { client.seq = (client.seq + 3) % 256; client.publishNodeData({ timestamp: at(n - 1) + 1, metrics: [{ ...metric("Power", "Double", 1, n - 1), timestamp: at(n - 1) + 1 }] }); }
  else if (line === "leave") { client.stop(); setTimeout(() => process.exit(0), 500); }
});
