// Moleculer: two brokers in two processes over its TCP transporter, JSON of the map.
"use strict";
const { ServiceBroker } = require("moleculer");
const [role, port, calls, alone] = [process.argv[2], ...process.argv.slice(3).map(Number)];
const TEXT = "x".repeat(76), OUTSTANDING = 64;

function broker(nodeID) {
  return new ServiceBroker({
    nodeID, logger: false, transporter: { type: "TCP", options: {
      udpDiscovery: false, port: nodeID === "callee" ? port : port + 1,
      urls: [`tcp://127.0.0.1:${port}/callee`, `tcp://127.0.0.1:${port + 1}/caller`],
    } },
  });
}

async function serve() {
  const callee = broker("callee");
  callee.createService({ name: "bench", actions: { echo: ctx => ({ text: ctx.params.text, number: ctx.params.number }) } });
  await callee.start();
  console.log(port);
  process.stdin.resume().on("end", () => callee.stop().then(() => process.exit()));
}

async function measure() {
  const caller = broker("caller");
  await caller.start();
  await caller.waitForServices("bench", 30000, 50);
  const latencies = [];
  async function work(count) {
    for (let number = 0; number < count; number++) {
      const began = process.hrtime.bigint();
      const answer = await caller.call("bench.echo", { text: TEXT, number });
      latencies.push(Number(process.hrtime.bigint() - began) / 1e9);
      if (answer.number !== number) throw new Error(`asked for ${number}, got ${JSON.stringify(answer)}`);
    }
  }
  await work(50);
  const each = Math.max(1, Math.floor(calls / OUTSTANDING)), began = process.hrtime.bigint();
  await Promise.all(Array.from({ length: OUTSTANDING }, () => work(each)));
  const rate = each * OUTSTANDING / (Number(process.hrtime.bigint() - began) / 1e9);
  latencies.length = 0;
  await work(alone);
  latencies.sort((a, b) => a - b);
  console.log(JSON.stringify({ calls_per_second: rate, p50: latencies[Math.floor(alone / 2)] }));
  await caller.stop();
  process.exit();
}

(role === "serve" ? serve() : measure()).catch(error => { console.error(error); process.exit(1); });
