// Whatever a client does wrong, it is told what, and the close code says of which kind.
import assert from 'node:assert/strict';
import { Client, first, second } from './client.mjs';

const consumer = '/v1/subscribe?stream=closing';
const publisher = '/v1/publish';
const text = (text) => ({ socket }) => socket.send(text);
const frame = (frame) => text(JSON.stringify(frame));
const wire = (...bytes) => ({ socket }) => socket._socket.write(Buffer.from(bytes));
const nothing = () => {};
const nested = (depth) => `{"ack":${'['.repeat(depth)}${']'.repeat(depth)}}`;

const cases = [
    // The frames themselves (1002)
    ['a reserved opcode', consumer, wire(0x83, 0x80, 1, 2, 3, 4), 1002, 'BadFraming'],
    ['an unmasked frame', consumer, wire(0x81, 0x02, 0x7b, 0x7d), 1002, 'BadFraming'],
    ['a reserved bit', consumer, wire(0xc1, 0x80, 1, 2, 3, 4), 1002, 'BadFraming'],
    ['a fragmented ping', consumer, wire(0x09, 0x80, 1, 2, 3, 4), 1002, 'BadFraming'],
    ['a continuation of nothing', consumer, wire(0x80, 0x80, 1, 2, 3, 4), 1002, 'BadFraming'],
    // Well-formed, but not what this connection does (1003)
    ['no operation', consumer, frame({}), 1003, 'UnknownOp'],
    ['an unknown operation', consumer, frame({ subscribe: 'x' }), 1003, 'UnknownOp'],
    ['a publisher that acks', publisher, frame({ ack: 1 }), 1003, 'UnknownOp'],
    ['a publisher that grants', publisher, frame({ credit: 1 }), 1003, 'UnknownOp'],
    ['credit of nothing', consumer, frame({ credit: 0 }), 1003, 'InvalidField'],
    ['negative credit', consumer, frame({ credit: -1 }), 1003, 'InvalidField'],
    ['credit of a text', consumer, frame({ credit: '5' }), 1003, 'InvalidField'],
    ['an ack of an object', consumer, frame({ ack: {} }), 1003, 'InvalidField'],
    ['a delay of a text', consumer, frame({ nack: 1, delayMs: 'long' }), 1003, 'InvalidField'],
    ['an array beyond the limit', consumer, frame({ ack: Array(10_001).fill(1) }), 1003, 'InvalidField'],
    ['a ref beyond the limit', consumer, frame({ enqueue: { to: 'x', envelope: {} }, ref: 'r'.repeat(1_023) }), 1003, 'InvalidField'],
    ['a member twice', consumer, text('{"credit":1,"credit":1}'), 1003, 'InvalidField'],
    ['a parameter that is no number', `${consumer}&credit=x`, nothing, 1003, 'InvalidField'],
    ['a parameter twice', `${consumer}&credit=1&credit=1`, nothing, 1003, 'InvalidField'],
    // Not to be decoded (1007)
    ['no JSON', consumer, text('{"credit":'), 1007, 'InvalidJSON'],
    ['an empty message', consumer, text(''), 1007, 'InvalidJSON'],
    ['a text that is not UTF-8', consumer, ({ socket }) => socket.send(Buffer.from([0x7b, 0xff, 0x7d]), { binary: false }), 1007, 'DecodeError'],
    ['nesting beyond the limit', consumer, text(nested(32)), 1007, 'DepthExceeded'],
    ['no MessagePack', `${consumer}&codec=msgpack`, ({ socket }) => socket.send(Buffer.from([0xc1])), 1007, 'DecodeError'],
    // Not allowed or not there (1008)
    ['an unknown path', '/v1/nothing', nothing, 1008, 'NotFound'],
    ['a reserved stream', '/v1/subscribe?stream=%24audit', nothing, 1008, 'Forbidden'],
    ['no stream', '/v1/subscribe', nothing, 1008, 'InvalidStream'],
    ['a stream without a name', '/v1/subscribe?stream=', nothing, 1008, 'InvalidStream'],
    ['a stream with a control character', '/v1/subscribe?stream=a%07', nothing, 1008, 'InvalidStream'],
    ['a stream name beyond the limit', `/v1/subscribe?stream=${'s'.repeat(256)}`, nothing, 1008, 'InvalidStream'],
    // Too large (1009)
    ['a message beyond the limit', consumer, text(' '.repeat(1_048_577)), 1009, 'MessageTooLarge'],
    ['fragments beyond the limit', consumer, ({ socket }) => {
        socket.send(' '.repeat(1_000_000), { fin: false });
        socket.send(' '.repeat(48_577), { fin: true });
    }, 1009, 'MessageTooLarge'],
];

for (const [what, target, mistake, code, told] of cases) {
    for (const address of [first, second]) {
        const client = await Client.open(address, target);
        mistake(client);
        const end = await client.end();
        assert.deepEqual([what, end.code, end.told], [what, code, [told]]);
        assert.ok(end.reason.length > 0 && Buffer.byteLength(end.reason) <= 123, `${what}: ${end.reason}`);
    }
}

// What is just within the limits passes: the connection still answers.
const limits = [
    text(`{"enqueue":{"to":"limits","envelope":{"text":"${'x'.repeat(1_048_576 - 62)}"}},"ref":1}`),
    frame({ ack: Array(10_000).fill(1) }),
    frame({ enqueue: { to: 's'.repeat(255), envelope: {} }, ref: 'r'.repeat(1_022) }),
    text(`{"enqueue":{"to":"limits","envelope":{"a":${'['.repeat(29)}${']'.repeat(29)}}},"ref":1}`),
];
const client = await Client.open(first, `/v1/subscribe?stream=${'s'.repeat(255)}`);
for (const within of limits) within(client);
client.send({ enqueue: { to: 'limits', envelope: { id: 'last' } }, ref: 'last' });
const frames = [];
while (frames.at(-1)?.ref !== 'last') frames.push(await client.next());
assert.deepEqual(frames.map(({ ok }) => ok.seq), [1, 1, 2, 3]);
client.socket.close(4321, 'done');
assert.equal((await client.end()).code, 4321);
