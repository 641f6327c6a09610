// An EventSource reads every message once and in order, whatever breaks its connections, and resumes by itself where it was.
import assert from 'node:assert/strict';
import net from 'node:net';

const [, , http] = process.argv;
const [host, port] = http.split(':');
const publish = async (lines) => {
    const body = lines.map((line) => JSON.stringify(line)).join('\n');
    const answer = await fetch(`http://${http}/v1/enqueue`, {
        method: 'POST', headers: { 'content-type': 'application/x-ndjson' }, body,
    });
    assert.equal((await answer.json()).failed, 0);
};

// A relay between the two, that breaks what goes through it: EventSource connects again, and says what it saw last.
const sockets = new Set();
const resumed = [];
const relay = net.createServer((client) => {
    const server = net.connect(Number(port), host);
    for (const [from, to] of [[client, server], [server, client]]) {
        from.on('data', (bytes) => to.write(bytes));
        from.on('end', () => to.end());
        from.on('error', () => to.destroy());
        from.on('close', () => to.destroy());
    }
    client.once('data', (bytes) => resumed.push(/last-event-id: (\d+)/i.exec(bytes.toString())?.[1]));
    sockets.add(client);
    client.on('close', () => sockets.delete(client));
});
await new Promise((done) => relay.listen(0, '127.0.0.1', done));
const url = `http://127.0.0.1:${relay.address().port}`;

// Without a stream: one event at once.
const plain = new EventSource(`${url}/v1/live`);
const first = await new Promise((done) => { plain.onmessage = done; });
assert.deepEqual(JSON.parse(first.data), { connected: true });
plain.close();

await fetch(`http://${http}/v1/streams/events`, { method: 'PUT', body: '{"retention":{"policy":"log"}}' });
await publish([{ to: 'events', envelope: { n: 1, text: 'line\nend' } }]);
const source = new EventSource(`${url}/v1/live?stream=events&from=first&hello=1`);
const got = [];
let wake = () => {};
source.onmessage = ({ data, lastEventId }) => {
    got.push([JSON.parse(data), lastEventId]);
    wake();
};
const until = async (count) => {
    while (got.length < count) await new Promise((done) => { wake = done; });
};
const greeting = await new Promise((done) => { source.addEventListener('subscribed', done); });
assert.equal(JSON.parse(greeting.data).next, 1);
await until(1);
for (let round = 1; round <= 2; round += 1) {
    // Broken while nothing is on the way, and published to while the reader is away.
    for (const socket of sockets) socket.destroy();
    const from = got.length + 1;
    await publish(Array.from({ length: 50 }, (_, at) => ({ to: 'events', envelope: { n: from + at } })));
    await until(from + 49);
}
assert.deepEqual(got.map(([{ n }, id]) => [n, id]), Array.from({ length: 101 }, (_, at) => [at + 1, `${at + 1}`]));
assert.equal(got[0][0].text, 'line\nend');
assert.deepEqual(resumed.slice(1), [undefined, '1', '51']);

// The end is told before the connection ends.
const ended = new Promise((done) => { source.addEventListener('end', done); });
await fetch(`http://${http}/v1/streams/events`, { method: 'DELETE' });
assert.equal(JSON.parse((await ended).data).code, 'StreamDeleted');
source.close();
relay.close();
for (const socket of sockets) socket.destroy();
