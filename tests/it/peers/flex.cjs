// A grid agent with node's own crypto: `flex.cjs` writes {"keys": JWKS, "good": message, "forged": message} to stdout.
const crypto = require("crypto");
const pair = () => crypto.generateKeyPairSync("ec", { namedCurve: "P-256" });
const mine = pair(), other = pair(), rsa = crypto.generateKeyPairSync("rsa", { modulusLength: 2048 });
const b64 = x => Buffer.from(x).toString("base64url");
const claims = mw => ({ load_targets: [{ interval: { start_time: "2026-07-14T04:00:00Z" }, load: { value: mw, unit: "megawatt" } }] });
// Each event has a time of its own: two of one millisecond would be one reading.
let events = 0;
const event = data => JSON.stringify({ specversion: "1.0.2", id: crypto.randomUUID(), source: "//grid/v1/isv/acme", type: "grid.loadtarget.set.v1", time: new Date(Date.now() - 10000 + 1000 * events++).toISOString(), datacontenttype: "application/json", subject: "loadtarget", traceparent: "00-0-0-00", data });
const sign = (alg, kid, key, body) => {
  const signed = `${b64(JSON.stringify({ alg, kid }))}.${b64(JSON.stringify(body))}`;
  return `${signed}.${b64(crypto.sign("sha256", Buffer.from(signed), alg === "ES256" ? { key, dsaEncoding: "ieee-p1363" } : key))}`;
};
const jwk = (key, kid) => ({ ...key.export({ format: "jwk" }), kid });
console.log(JSON.stringify({
  keys: { keys: [jwk(mine.publicKey, "a"), jwk(rsa.publicKey, "b")] },
  good: event(sign("ES256", "a", mine.privateKey, claims(5))),
  rsa: event(sign("RS256", "b", rsa.privateKey, claims(4))),
  forged: event(sign("ES256", "a", other.privateKey, claims(1))),
}));
