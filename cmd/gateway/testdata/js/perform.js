// perform does a job by MQTT.js and returns its outcome: the payloads of the replies, in base64 as the operations come,
// or an error. It runs in node and in a page; mqtt is the library as either has it.
async function perform(mqtt, job) {
  try {
    return { replies: await askAll(mqtt, job) };
  } catch (err) {
    return { error: String(err) };
  }
}

// askAll asks for one operation after the other.
async function askAll(mqtt, job) {
  const client = await mqtt.connectAsync(job.url, {
    clientId: job.id, username: job.user, password: job.password, protocolVersion: job.version,
    reconnectPeriod: 0, connectTimeout: job.patience,
  }, false);
  const topic = `bank/replies/${job.id}`;
  await client.subscribeAsync(`${topic}/#`, { qos: 1 });
  let hear, fail;
  client.on('message', (_, payload, packet) => hear({ payload, properties: packet.properties }));
  client.on('close', () => fail(new Error('the connection ended without a reply')));
  const replies = [];
  for (const [i, ask] of job.asks.entries()) {
    const reply = new Promise((resolve, reject) => { hear = resolve; fail = reject; });
    const slip = `slip ${i}`;
    const properties = job.version === 5
      ? { responseTopic: `${topic}/slip`, correlationData: new TextEncoder().encode(slip) } : undefined;
    const sent = client.publishAsync('bank/ops', bytes(ask.payload), { qos: ask.qos, properties });
    const [{ payload, properties: got }] = await Promise.all([reply, sent]);
    if (properties && new TextDecoder().decode(got.correlationData) !== slip) {
      throw new Error(`reply ${i} has correlation data ${got.correlationData}`);
    }
    replies.push(btoa(String.fromCharCode(...payload)));
  }
  await client.endAsync();
  return replies;
}

function bytes(base64) {
  return Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
}

if (typeof module === 'object') module.exports = perform;
