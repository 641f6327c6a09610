// The same shapes in MessagePack, over HTTP and WebSocket, and a message of either codec for a consumer of the other.
import assert from 'node:assert/strict';
import { Client, first, msgpack, publish, second } from './client.mjs';

const unpack = ({ data, isBinary }) => {
    assert.ok(isBinary, 'MessagePack in a text frame');
    return msgpack.decode(data);
};
const envelope = { id: 'packed', n: 1, big: 4_294_967_296, less: -5, part: 0.5, yes: true, no: null, list: [1, ['ä']] };

async function enqueue(headers, body) {
    const response = await fetch(`http://${first}/v1/enqueue`, { method: 'POST', headers, body });
    return [response.status, response.headers.get('content-type'), Buffer.from(await response.arrayBuffer())];
}

// By query and by subprotocol.
for (const [target, protocols, protocol] of [
    ['/v1/subscribe?stream=packed&codec=msgpack', [], ''],
    ['/v1/subscribe?stream=packed', ['other', 'msgpack', 'json'], 'msgpack'],
]) {
    const consumer = await Client.open(second, target, protocols);
    assert.equal(consumer.socket.protocol, protocol);
    const send = (frame) => consumer.socket.send(msgpack.encode(frame));

    send({ enqueue: { to: 'packed', envelope }, ref: { any: [1] } });
    const ok = unpack(await consumer.raw());
    assert.deepEqual([ok.ok.id, ok.ok.stream, ok.ref], ['packed', 'packed', { any: [1] }]);
    send({ credit: 2 });
    const packed = unpack(await consumer.raw());
    assert.deepEqual([packed.deliver, packed.id, packed.attempt], [envelope, 'packed', 1]);

    // Published as JSON, delivered as MessagePack.
    const { seq } = await publish('packed', envelope);
    assert.deepEqual(unpack(await consumer.raw()), { deliver: envelope, id: 'packed', seq, attempt: 1 });
    send({ ack: [packed.seq, 'packed'] });

    // Refused as a map, and closed with one.
    send({ enqueue: { to: 'packed', envelope: 5 }, ref: 1 });
    assert.deepEqual((({ error, ref }) => [error.code, ref])(unpack(await consumer.raw())), ['InvalidEnvelope', 1]);
    consumer.socket.send(Buffer.from([0x81]));
    assert.equal(unpack(await consumer.raw()).error.code, 'DecodeError');
    assert.equal((await consumer.end()).code, 1007);
}

// Over HTTP in, and out as asked for; delivered as JSON.
for (const [type, accept, answered] of [
    ['application/msgpack', { accept: 'application/msgpack' }, 'application/msgpack'],
    ['application/x-msgpack', { 'x-codec': 'msgpack' }, 'application/msgpack'],
    ['application/vnd.msgpack', { accept: '*/*' }, 'application/json'],
]) {
    const body = msgpack.encode({ to: 'unpacked', envelope });
    const [status, contentType, answer] = await enqueue({ 'content-type': type, ...accept }, body);
    assert.deepEqual([status, contentType], [200, answered]);
    const { id, stream } = answered === 'application/json' ? JSON.parse(answer) : msgpack.decode(answer);
    assert.deepEqual([id, stream], ['packed', 'unpacked']);
}
const consumer = await Client.consume(second, 'unpacked', 'credit=9');
for (const frame of await consumer.take(3)) assert.deepEqual(frame.deliver, envelope);
await consumer.close();

// What does not decode says so, in the codec of the answer.
const [status, , answer] = await enqueue({ 'content-type': 'application/msgpack' }, Buffer.from([0xc1]));
assert.deepEqual([status, JSON.parse(answer).code, JSON.parse(answer).codec], [400, 'DecodeError', 'msgpack']);
