// node_client.cjs NAME SEED LOG: as client.c, with Node's pg.
"use strict";
const fs = require("fs");
const { Client, DatabaseError } = require("pg");

const [name, seed, path] = process.argv.slice(2);
const log = fs.openSync(path, "a", 0o600);
const WAYS = ["auto", "commit", "commit", "commit", "rollback", "fail",
  "pipeline", "cut", "leave"];
let state = Number(seed) >>> 0;
let orders = 0;
let going = true;

process.on("SIGTERM", () => {
  going = false;
});

function below(n) {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return (state >>> 8) % n;
}

const doze = (most) =>
  new Promise((resolve) => setTimeout(resolve, below(most + 1)));

function note(token, event, detail = "") {
  const at = (Date.now() / 1000).toFixed(6);
  fs.writeSync(log, `${at} ${token} ${event} ${detail}\n`);
}

async function connect() {
  const client = new Client({
    application_name: name,
    connectionTimeoutMillis: 10000,
  });
  client.on("error", () => {}); // it breaks between two queries
  await client.connect();
  return client;
}

// Only what the server said has an SQLSTATE.
function noteError(token, error) {
  if (error instanceof DatabaseError && error.code) {
    note(token, "E", error.code);
  }
}

async function insert(client, token) {
  note(token, "S");
  try {
    await client.query(
      "INSERT INTO orders (token, status, amount, account)" +
        " VALUES ($1, 'SUBMITTED', $2, $3)",
      [token, below(20) - 1, 1 + below(4)],
    );
  } catch (error) {
    noteError(token, error);
    throw error;
  }
  note(token, "I");
}

// The COMMIT of a failed transaction is answered with ROLLBACK.
async function commit(client, token) {
  note(token, "c");
  const result = await client.query("COMMIT");
  note(token, result.command === "COMMIT" ? "C" : "R");
}

// All that the driver is given at once; it has one answer for each.
async function pipeline(client, token) {
  const answers = await Promise.allSettled([
    insert(client, token),
    client.query("UPDATE orders SET status = 'PAYING' WHERE token = $1",
      [token]),
    commit(client, token),
  ]);
  if (answers[2].status === "rejected") throw answers[2].reason;
}

const END = {
  auto: (client, token) => note(token, "C"),
  commit,
  rollback: async (client, token) => {
    await client.query("ROLLBACK");
    note(token, "R");
  },
  fail: async (client, token) => {
    await client.query("SELECT 1 / 0").catch(() => {});
    await commit(client, token);
  },
  cut: async (client, token) => {
    note(token, "c");
    client.query("COMMIT").catch(() => {});
    await doze(2);
    client.connection.stream.destroy();
    note(token, "X", "cut");
  },
  leave: (client, token) => {
    client.connection.stream.destroy();
    note(token, "X", "left");
  },
};

async function place(client) {
  const way = WAYS[below(WAYS.length)];
  const token = `${name}-${++orders}`;
  if (way !== "auto") await client.query("BEGIN");
  try {
    if (way === "pipeline") return await pipeline(client, token);
    await insert(client, token);
    await doze(20);
    await END[way](client, token);
  } catch {
    try {
      await client.query("ROLLBACK");
      note(token, "R");
    } catch {
      note(token, "X");
    }
  }
}

async function main() {
  let client = null;
  while (going) {
    try {
      client ??= await connect();
      await place(client);
      if (client.connection.stream.destroyed) client = null;
    } catch {
      client?.connection.stream.destroy();
      client = null;
      await doze(200);
    }
    await doze(20);
  }
  client?.connection.stream.destroy();
}

main();
