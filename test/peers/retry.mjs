// Places orders, each exactly once, whatever happens to the connection.
//
// Usage: node retry.mjs TOKEN=AMOUNT...
//
// The connection is given by PGHOST and the like, the time for one order in
// seconds by PATIENCE.  Prints one line for each order.
import pg from "pg";

const PATIENCE = Number(process.env.PATIENCE ?? 30);
const SILENCE = Number(process.env.SILENCE ?? 10);

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// --- the loop ---

// The server says no, and will say so again.
class Refused extends Error {}
// It was not placed and never will be: settle() has seen to that.
class NotPlaced extends Error {}
// Nobody can say yet: ask again later, and tell the customer so.
class StillUnknown extends Error {}

// Classes of SQLSTATE after which the same statements may well succeed.
const TRANSIENT = ["08", "25", "40", "53", "55", "57", "58"];

const OUTCOME = "SELECT outcome, key FROM order_guard.outcome($1)";
const SETTLE = "SELECT outcome, key FROM settle_order($1)";

// One short transaction on a connection of its own, or of a pool.
async function run(work) {
  const client = new pg.Client({
    connectionTimeoutMillis: 5000,
    query_timeout: SILENCE * 1000, // a silent server is not waited for
  });
  client.on("error", () => {}); // it breaks between two queries
  try {
    await client.connect();
    await client.query("BEGIN");
    await client.query("SET LOCAL statement_timeout = '5s'");
    const result = await work(client);
    await client.query("COMMIT");
    return result;
  } finally {
    // Rolls back what has failed; a silent server gets no farewell.
    client.connection.stream.destroy();
  }
}

function send(order) {
  return run(async (client) => {
    const result = await client.query(
      "INSERT INTO orders (token, amount) VALUES ($1, $2)" +
        " RETURNING id::text",
      [order.token, order.amount],
    );
    return result.rows[0].id;
  });
}

function ask(question, token) {
  return run(async (client) => {
    const result = await client.query(question, [token]);
    return result.rows[0];
  });
}

// Has the server refused it for a reason that will not go away?  Errors of
// the network have codes such as ECONNRESET, or none.
function isFinal(error) {
  return error instanceof pg.DatabaseError &&
    !TRANSIENT.includes(error.code.slice(0, 2));
}

// Returns the key of the order, which then exists exactly once.
async function place(order) {
  const until = Date.now() + PATIENCE * 1000;
  let pause = 50;
  let outcome = "rolled_back";
  let failure = null;
  while (Date.now() < until) {
    try {
      // unknown: sent again, too; the token is unique in the table, so the
      // worst that can happen is that this one is refused
      if (outcome === "rolled_back" || outcome === "unknown") {
        failure = null;
        return await send(order);
      }
    } catch (error) { // no answer, or a bad one
      failure = error;
    }
    let answer;
    try {
      answer = await ask(OUTCOME, order.token);
    } catch { // an error is not an answer
      answer = { outcome: "in_flight" };
    }
    outcome = answer.outcome;
    if (outcome === "committed") return answer.key;
    if (outcome === "settled") throw new NotPlaced(order.token);
    if (failure && isFinal(failure)) {
      if (outcome === "rolled_back") throw new Refused(failure.code);
      if (outcome === "unknown") break;
    }
    await sleep(pause); // in_flight, prepared: wait
    pause = Math.min(pause * 2, 1000);
  }
  return giveUp(order);
}

// The customer has waited long enough: have it decided now.
async function giveUp(order) {
  let answer;
  try {
    answer = await ask(SETTLE, order.token);
  } catch { // no answer to this either
    throw new StillUnknown(order.token);
  }
  if (answer.outcome === "committed") return answer.key;
  if (answer.outcome === "settled") throw new NotPlaced(order.token);
  throw new StillUnknown(order.token);
}

// --- end of the loop ---

for (const argument of process.argv.slice(2)) {
  const at = argument.lastIndexOf("=");
  const order = { token: argument.slice(0, at), amount: argument.slice(at + 1) };
  let answer;
  try {
    answer = `placed ${await place(order)}`;
  } catch (error) {
    if (error instanceof Refused) answer = `refused ${error.message}`;
    else if (error instanceof NotPlaced) answer = "not placed";
    else if (error instanceof StillUnknown) answer = "unknown";
    else throw error;
  }
  console.log(order.token, answer);
}
