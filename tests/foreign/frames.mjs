// Messages in fragments, control frames between them, pings of any size, and text or binary frames alike.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { Client, first, second } from './client.mjs';

for (const address of [first, second]) {
    const client = await Client.consume(address, 'frames');
    const message = JSON.stringify({ enqueue: { to: 'frames', envelope: { text: 'grün 😀' } }, ref: 'whole' });

    // A byte a fragment, through the middle of characters, with a ping inside.
    const bytes = Buffer.from(message);
    const pong = once(client.socket, 'pong');
    for (let at = 0; at < bytes.length; at += 1) {
        client.socket.send(bytes.subarray(at, at + 1), { binary: false, fin: at === bytes.length - 1 });
        if (at === 40) client.socket.ping('inside');
    }
    assert.equal((await pong)[0].toString(), 'inside');
    assert.equal((await client.next()).ref, 'whole');

    // Empty fragments count for nothing.
    for (const part of ['', message.slice(0, 5), '', message.slice(5)]) client.socket.send(part, { fin: false });
    client.socket.send('', { fin: true });
    assert.equal((await client.next()).ref, 'whole');

    // The codec decides how a message is read, not its kind of frame.
    client.socket.send(bytes, { binary: true });
    assert.equal((await client.next()).ref, 'whole');

    for (const length of [0, 1, 125]) {
        const answered = once(client.socket, 'pong');
        client.socket.ping('p'.repeat(length));
        assert.equal((await answered)[0].length, length);
    }
    // An unasked pong is no mistake (RFC 6455, section 5.5.3).
    client.socket.pong('unasked');

    client.send({ credit: 10 });
    assert.deepEqual((await client.next()).deliver.text, 'grün 😀');
    client.send({ ackUpTo: 9 });
    await client.close();
}

// A silent server is not a dead one, and `ws` offers compression, which the server leaves out.
const offered = await Client.open(first, '/v1/publish', [], { perMessageDeflate: true });
assert.equal(offered.socket.extensions, '');
await offered.close();
