// DEVELOPMENT TOOL, never part of a release: a backend made of sine waves.
// Serves /api/v1 in the shape of the contract and, when built, dist/ with the headers of the real backend.
// Users: operator / operator (all tenants) and manager / manager (one tenant). `PORT` (5180) and `HOST` (127.0.0.1) from the environment.
import { randomUUID } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { createServer } from "node:http";
import { extname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";
import { alarmView, bookOf, carryOut, gateway, hiddenOf, latest, ledger, machineDetail, machineView, page, samples, transitionsOf } from "./api.mjs";
import { silent, tenants } from "./plant.mjs";

const dist = fileURLToPath(new URL("../dist", import.meta.url));
const csp = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:";
const mime = { ".html": "text/html; charset=utf-8", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml" };
const users = {
  operator: { password: "operator", view: { username: "operator", display_name: "Olivia Operator", role: "platform-operator", permissions: ["operate_alarms", "administer"], tenants: tenants.map(({ id, name }) => ({ id, name })) } },
  manager: { password: "manager", view: { username: "manager", display_name: "Max Manager", role: "manager", permissions: ["operate_alarms"], tenants: [{ id: "aurora", name: "Aurora Gears" }] } },
};
const sessions = new Map();

function send(response, status, body, headers = {}) {
  const type = status >= 400 ? "application/problem+json" : "application/json";
  response.writeHead(status, { "Content-Type": type, "Cache-Control": "no-store", ...headers });
  response.end(body === undefined ? undefined : JSON.stringify(body));
}

const problem = (response, status, title, detail = title) =>
  send(response, status, { type: "about:blank", title, status, detail, instance: randomUUID() });

const token = (request) => /mfp_session=([^;]+)/.exec(request.headers.cookie ?? "")?.[1];

async function postSession(request, response) {
  let text = "";
  for await (const chunk of request) text += chunk;
  const { username, password } = JSON.parse(text || "{}");
  const user = Object.hasOwn(users, username) ? users[username] : undefined;
  if (user?.password !== password) return problem(response, 401, "Unauthorized", "user name or password is wrong");
  const id = randomUUID();
  sessions.set(id, user.view);
  send(response, 200, user.view, { "Set-Cookie": `mfp_session=${id}; HttpOnly; SameSite=Strict; Path=/` });
}

async function postCommand(request, response, machine, alarm) {
  let text = "";
  for await (const chunk of request) text += chunk;
  const definition = machine.alarms.find((each) => each.id === alarm);
  if (!definition) return problem(response, 404, "Not found");
  const reason = carryOut(machine, definition, JSON.parse(text));
  send(response, 200, { id: request.headers["idempotency-key"], state: reason === null ? "done" : "refused", reason, repeated: false });
}

function live(request, response, tenant) {
  response.writeHead(200, { "Content-Type": "text/event-stream", "Cache-Control": "no-store" });
  const emit = (event, data) => response.write(`event: ${event}\ndata: ${JSON.stringify(data)}\n\n`);
  const known = new Set(bookOf(tenant, Date.now()).flatMap(transitionsOf).map((each) => each.decided_at + each.alarm + each.machine));
  const tick = setInterval(() => {
    const now = Date.now();
    for (const machine of tenant.machines.filter((each) => !silent(each, now))) {
      const readings = machine.tags.map((tag) => [tag.id, latest(machine, tag, now)]);
      const bad = Object.fromEntries(readings.filter(([, each]) => !each.good).map(([id, each]) => [id, each.quality]));
      emit("values", { gateway: machine.gateway, machine: machine.id, at: now - (now % 1000), link: "up", values: Object.fromEntries(readings.map(([id, each]) => [id, each.value])), ...(Object.keys(bad).length ? { bad } : {}) });
    }
    for (const each of bookOf(tenant, now).flatMap(transitionsOf)) {
      const key = each.decided_at + each.alarm + each.machine;
      if (!known.has(key)) emit("alarm", each);
      known.add(key);
    }
  }, 1000);
  const alive = setInterval(() => response.write(": alive\n\n"), 10_000);
  response.write(": open\n\n");
  request.on("close", () => [tick, alive].forEach(clearInterval));
}

function tenantRoute(request, response, tenant, rest, params) {
  const now = Date.now();
  const machineAt = (at) => tenant.machines.find((each) => each.gateway === rest[at] && each.id === rest[at + 2]);
  const newest = (items, key) => items.sort((a, b) => (a[key] < b[key] ? 1 : -1));
  const path = rest.join("/");
  if (path === "gateways") return send(response, 200, { items: [gateway(tenant, now)] });
  if (path === "machines") return send(response, 200, { items: tenant.machines.map((each) => machineView(tenant, each, now)) });
  if (path === "ledger") return send(response, 200, { items: ledger(tenant, now) });
  if (path === "live") return live(request, response, tenant);
  if (path === "alarms/transitions") return send(response, 200, page(newest(bookOf(tenant, now).flatMap(transitionsOf), "decided_at"), params));
  if (path === "alarms") {
    if (params.get("state") === "hidden") return send(response, 200, page(hiddenOf(tenant), params));
    const all = bookOf(tenant, now).map(alarmView).filter((each) => params.get("state") !== "active" || each.active);
    return send(response, 200, page(newest(all, "raised_at"), params));
  }
  const machine = rest[0] === "gateways" && rest[2] === "machines" ? machineAt(1) : undefined;
  if (machine && rest.length === 4) return send(response, 200, machineDetail(tenant, machine, now));
  if (machine && rest[6] === "commands" && request.method === "POST") return postCommand(request, response, machine, rest[5]);
  if (machine && rest[4] === "samples") return send(response, 200, samples(machine, params));
  return problem(response, 404, "Not found");
}

function api(request, response, url) {
  const [head, ...rest] = url.pathname.split("/").slice(3).map(decodeURIComponent);
  if (head === "session" && request.method === "POST") return postSession(request, response);
  const session = sessions.get(token(request));
  if (!session) return problem(response, 401, "Unauthorized", "sign in first");
  if (request.method !== "GET" && request.headers["x-requested-with"] !== "fetch") return problem(response, 403, "Forbidden", "X-Requested-With is missing");
  if (head === "session" && request.method === "DELETE") {
    sessions.delete(token(request));
    return send(response, 204);
  }
  if (head === "session") return send(response, 200, session);
  if (head !== "tenants") return problem(response, 404, "Not found");
  const visible = tenants.filter((tenant) => session.tenants.some((each) => each.id === tenant.id));
  if (rest.length === 0) {
    const count = (tenant) => bookOf(tenant, Date.now()).filter((each) => each.returned === null).length;
    return send(response, 200, { items: visible.map((tenant) => ({ id: tenant.id, name: tenant.name, gateways: 1, machines: tenant.machines.length, active_alarms: count(tenant) })) });
  }
  const tenant = visible.find((each) => each.id === rest[0]);
  return tenant ? tenantRoute(request, response, tenant, rest.slice(1), url.searchParams) : problem(response, 404, "Not found");
}

function asset(request, response, url) {
  const wanted = join(dist, normalize(url.pathname));
  const isFile = wanted.startsWith(dist) && extname(wanted) !== "" && existsSync(wanted);
  const path = isFile ? wanted : join(dist, "index.html");
  if ((!isFile && extname(url.pathname) !== "") || !existsSync(path)) return problem(response, 404, "Not found", "run `npm run build` first");
  response.writeHead(200, { "Content-Type": mime[extname(path)] ?? "application/octet-stream", "Content-Security-Policy": csp });
  response.end(readFileSync(path));
}

const server = createServer((request, response) => {
  const url = new URL(request.url, "http://mock");
  (url.pathname.startsWith("/api/") ? api : asset)(request, response, url);
});
server.listen(Number(process.env.PORT ?? 5180), process.env.HOST ?? "127.0.0.1", () => {
  const { address, port } = server.address();
  console.log(`development backend at http://${address}:${port} (operator/operator, manager/manager)`);
});
