// Development tool: an imaginary plant as a pure function of time, so that history, live values and alarms agree with each other.
const HOUR = 3_600_000;

/** [kind, name, analog tags as [id, name, unit, mean, amplitude, period in s]] */
const KINDS = [
  ["cnc-mill", "CNC mill", [["spindle.speed", "Spindle speed", "rpm", 8200, 900, 71], ["spindle.temperature", "Spindle temperature", "°C", 58, 6, 240], ["spindle.load", "Spindle load", "%", 62, 18, 37], ["coolant.flow", "Coolant flow", "l/min", 22, 1.6, 53]]],
  ["lathe", "Lathe", [["spindle.speed", "Spindle speed", "rpm", 2400, 500, 61], ["spindle.load", "Spindle load", "%", 48, 15, 41], ["hydraulics.pressure", "Hydraulic pressure", "bar", 120, 4, 90], ["bearing.vibration", "Bearing vibration", "mm/s", 1.8, 0.5, 29]]],
  ["injection-moulding", "Injection moulding", [["barrel.temperature", "Barrel temperature", "°C", 231, 5, 310], ["injection.pressure", "Injection pressure", "bar", 940, 210, 24], ["clamp.force", "Clamp force", "kN", 1480, 60, 24], ["cycle.time", "Cycle time", "s", 24.2, 0.7, 130]]],
  ["press", "Hydraulic press", [["ram.force", "Ram force", "kN", 610, 180, 19], ["oil.temperature", "Oil temperature", "°C", 47, 4, 420], ["oil.pressure", "Oil pressure", "bar", 208, 14, 19], ["ram.position", "Ram position", "mm", 240, 190, 19]]],
  ["furnace", "Furnace", [["zone1.temperature", "Zone 1 temperature", "°C", 842, 9, 600], ["zone2.temperature", "Zone 2 temperature", "°C", 861, 8, 660], ["gas.flow", "Gas flow", "m³/h", 41, 3, 180], ["oxygen", "Oxygen", "%", 3.1, 0.4, 200]]],
  ["compressor", "Compressor", [["outlet.pressure", "Outlet pressure", "bar", 7.4, 0.3, 45], ["motor.current", "Motor current", "A", 86, 9, 45], ["oil.temperature", "Oil temperature", "°C", 78, 4, 380], ["dew.point", "Dew point", "°C", 3.2, 0.4, 500]]],
  ["conveyor", "Conveyor", [["belt.speed", "Belt speed", "m/s", 0.82, 0.05, 33], ["motor.current", "Motor current", "A", 11.2, 1.1, 33], ["belt.tension", "Belt tension", "N", 1320, 45, 95], ["motor.temperature", "Motor temperature", "°C", 51, 3, 300]]],
  ["robot-cell", "Robot cell", [["axis1.torque", "Axis 1 torque", "Nm", 210, 90, 14], ["axis2.torque", "Axis 2 torque", "Nm", 260, 110, 14], ["cycle.time", "Cycle time", "s", 14.1, 0.5, 110], ["controller.temperature", "Controller temperature", "°C", 41, 2, 350]]],
  ["packaging-line", "Packaging line", [["line.speed", "Line speed", "1/min", 64, 5, 58], ["seal.temperature", "Seal temperature", "°C", 162, 4, 140], ["film.tension", "Film tension", "N", 38, 3, 47], ["air.pressure", "Air pressure", "bar", 6.1, 0.2, 75]]],
];
const FILLERS = [["power", "Power", "kW", 18, 5, 66], ["vibration", "Vibration", "mm/s", 2.1, 0.4, 27], ["cabinet.temperature", "Cabinet temperature", "°C", 34, 2, 500], ["supply.voltage", "Supply voltage", "V", 398, 3, 83], ["supply.current", "Supply current", "A", 31, 6, 66], ["humidity", "Humidity", "%", 44, 3, 900], ["frequency", "Frequency", "Hz", 50, 0.02, 40], ["lubricant.level", "Lubricant level", "%", 71, 4, 3600]];

function noise(seed, at) {
  const x = Math.sin(seed * 127.1 + Math.floor(at / 1000) * 311.7) * 43758.5453;
  return (x - Math.floor(x)) * 2 - 1;
}

function buildMachine(index, gateway, seed) {
  const [kind, title, own] = KINDS[index % KINDS.length];
  const protocol = index < 8 ? "modbus-tcp" : "opcua";
  const analog = (spec, position) => ({ id: spec[0], name: spec[1], unit: spec[2], data_type: "float", spec, position });
  const tags = [
    ...own.map(analog),
    ...FILLERS.map((spec, position) => analog(spec, position + 4)),
    { id: "parts.good", name: "Good parts", unit: "1", data_type: "int", role: "count", every: 24 },
    { id: "parts.scrap", name: "Scrap parts", unit: "1", data_type: "int", role: "count", every: 900 },
    { id: "state", name: "State", unit: "", data_type: "text", role: "state" },
    { id: "door.closed", name: "Door closed", unit: "", data_type: "bool", enumeration: [{ number: 0, name: "open" }, { number: 1, name: "closed" }], role: "bool", every: 97 },
    { id: "automatic", name: "Automatic mode", unit: "", data_type: "bool", role: "bool", every: 613 },
    { id: "lubrication.on", name: "Lubrication on", unit: "", data_type: "bool", role: "bool", every: 41 },
    { id: "program", name: "Program", unit: "", data_type: "text", role: "program" },
    { id: "tool.number", name: "Tool number", unit: "", data_type: "int", role: "tool" },
  ];
  const [, , , mean, amplitude] = own[1];
  const [, , , mean0, amplitude0] = own[0];
  const alarms = [
    { id: `${own[1][0]}.high`, tag: own[1][0], kind: "high", limit: round(mean + amplitude * 1.5), deadband: round(amplitude * 0.1), priority: ["high", "medium", "low"][index % 3], message: `${own[1][1]} high` },
    { id: `${own[1][0]}.high-high`, tag: own[1][0], kind: "high_high", limit: round(mean + amplitude * 2), deadband: round(amplitude * 0.1), priority: "critical", message: `${own[1][1]} far too high` },
    { id: `${own[0][0]}.low`, tag: own[0][0], kind: "low", limit: round(mean0 - amplitude0 * 2), deadband: round(amplitude0 * 0.1), priority: "low", message: `${own[0][1]} low` },
  ];
  const usual = { expression: null, acknowledge: "on_return", latching: false, suppress_while: null, shelve_seconds_max: 28_800 };
  return { id: `${kind}-${Math.floor(index / KINDS.length) + 1}`, name: `${title} ${Math.floor(index / KINDS.length) + 1}`, gateway, kind, protocol, index, seed: seed * 100 + index, tags, alarms: alarms.map((alarm) => ({ ...alarm, ...usual })) };
}

const round = (value) => Number(value.toPrecision(4));

/** Machine 9 is above its limit for most of an hour, 3 and 4 now and then; the others never. */
function excursion(machine, at) {
  if (machine.index === 9) return at % HOUR < 0.95 * HOUR ? 2.2 : 0;
  if (machine.index !== 3 && machine.index !== 4) return 0;
  const period = 420_000 + machine.index * 30_000;
  const phase = (at + machine.index * 97_000) % period;
  const length = period * 0.55;
  return phase < length ? Math.sin((Math.PI * phase) / length) * (machine.index === 4 ? 2.6 : 1.9) : 0;
}

/** Machine 12 never answers; machine 6 is silent for two minutes of every hour. */
export const silent = (machine, at) => machine.index === 12 || (machine.index === 6 && at % HOUR > 0.5 * HOUR && at % HOUR < 0.5 * HOUR + 120_000);
/** Machine 7's second tag has no good value for 20 s of every 3 min. */
export const badTag = (machine, tag, at) => machine.index === 7 && tag.position === 1 && at % 180_000 < 20_000;

export function stateOf(machine, at) {
  if (machine.index === 5) return "down";
  if (machine.index === 10) return "setup";
  return Math.floor(at / 900_000 + machine.index * 0.37) % 4 === 3 ? "idle" : "running";
}

export function stateSince(machine, at) {
  if (machine.index === 5 || machine.index === 10) return at - (at % (6 * HOUR));
  return Math.max(at - (at % 900_000) - ((machine.index * 0.37) % 1) * 900_000, at - 900_000);
}

export function valueOf(machine, tag, at) {
  if (tag.role === "state") return stateOf(machine, at);
  if (tag.role === "program") return `P-${100 + (machine.index * 7) % 60}`;
  if (tag.role === "tool") return 1 + (Math.floor(at / 30_000) + machine.index) % 12;
  if (tag.role === "bool") return Math.floor(at / (tag.every * 1000)) % 3 !== 0;
  if (tag.role === "count") return Math.floor((at % (12 * HOUR)) / (tag.every * 1000));
  const [, , , mean, amplitude, period] = tag.spec;
  const wave = Math.sin((at / 1000 / period + machine.index * 0.17) * 2 * Math.PI) * 0.6;
  const lift = tag.position === 1 ? excursion(machine, at) * amplitude : 0;
  return Number((mean + amplitude * (wave + noise(machine.seed + tag.position, at) * 0.12) + lift).toFixed(3));
}

/** Alarm occurrences in [from, to), found by walking the process in steps of a second. */
export function occurrences(machine, from, to) {
  const found = [];
  for (const definition of machine.alarms) {
    const tag = machine.tags.find((each) => each.id === definition.tag);
    const high = definition.kind.startsWith("high");
    let open = null;
    for (let at = from - (from % 1000); at < to; at += 1000) {
      if (silent(machine, at)) continue;
      const value = valueOf(machine, tag, at);
      const over = high ? value > definition.limit : value < definition.limit;
      const back = high ? value < definition.limit - definition.deadband : value > definition.limit + definition.deadband;
      if (open === null && over) found.push((open = { machine, definition, raised: at, value, returned: null, returnedValue: null }));
      else if (open !== null && back) {
        open.returned = at;
        open.returnedValue = value;
        open = null;
      }
    }
  }
  return found;
}

export const tenants = [
  ["aurora", "Aurora Gears"],
  ["borealis", "Borealis Plastics"],
  ["cygnus", "Cygnus Packaging"],
].map(([id, name], seed) => ({
  id,
  name,
  gateway: `${id}-gw-1`,
  machines: Array.from({ length: 15 }, (_, index) => buildMachine(index, `${id}-gw-1`, seed + 1)),
}));
