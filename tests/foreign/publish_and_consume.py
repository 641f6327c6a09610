"""Python's `websockets` publishes and consumes on both listeners, with every option of a subscription."""

import asyncio
import json
import sys
import urllib.parse
import urllib.request

import websockets

HTTP, WS = sys.argv[1:3]


def stats(stream):
    with urllib.request.urlopen(f"http://{HTTP}/v1/stats?stream={urllib.parse.quote(stream)}") as response:
        return json.load(response)


async def until(stream, holds):
    while not holds(figures := await asyncio.to_thread(stats, stream)):
        pass
    return figures


def consume(address, stream, **options):
    query = urllib.parse.urlencode({"stream": stream, **options})
    return websockets.connect(f"ws://{address}/v1/subscribe?{query}")


async def deliveries(socket, count):
    return [json.loads(await socket.recv()) for _ in range(count)]


async def publish(address, stream, count):
    """Publishes with refs, and reads the answers afterwards."""
    async with websockets.connect(f"ws://{address}/v1/publish") as socket:
        for n in range(count):
            frame = {"enqueue": {"to": stream, "envelope": {"id": f"m-{n}", "text": "zwölf 😀"}}, "ref": n}
            await socket.send(json.dumps(frame))
        for n in range(count):
            answer = json.loads(await socket.recv())
            assert answer == {"ok": {"id": f"m-{n}", "stream": stream, "seq": n + 1}, "ref": n}, answer


async def credit_is_a_first_grant(address, stream):
    await publish(address, stream, 20)
    async with consume(address, stream, credit=5) as socket:
        got = await deliveries(socket, 5)
        assert [frame["seq"] for frame in got] == [1, 2, 3, 4, 5], got
        assert got[0]["deliver"] == {"id": "m-0", "text": "zwölf 😀"}, got[0]
        figures = await until(stream, lambda figures: figures["inflight"] == 5)
        assert (figures["depth"], figures["credit"]) == (15, 0), figures
        await socket.send(json.dumps({"credit": 100}))
        await deliveries(socket, 15)
        await socket.send(json.dumps({"ackUpTo": 20}))
        await until(stream, lambda figures: figures["ackedTotal"] == 20)


async def refill_gives_credit_back(address, stream):
    await publish(address, stream, 30)
    async with consume(address, stream, credit=2, refill="ack") as socket:
        for seq in range(1, 31):
            [frame] = await deliveries(socket, 1)
            assert frame["seq"] == seq, frame
            await socket.send(json.dumps({"ack": seq}))
        figures = await until(stream, lambda figures: figures["ackedTotal"] == 30)
        assert figures["credit"] == 2, figures


async def max_inflight_holds_deliveries_back(address, stream):
    await publish(address, stream, 10)
    async with consume(address, stream, credit=100, maxInflight=3) as socket:
        for first in (1, 4, 7):
            got = await deliveries(socket, 3)
            assert [frame["seq"] for frame in got] == [first, first + 1, first + 2], got
            figures = await until(stream, lambda figures: figures["inflight"] == 3)
            assert figures["deliveredTotal"] == first + 2, figures
            await socket.send(json.dumps({"ack": [first, first + 1, first + 2]}))
        await deliveries(socket, 1)


async def ack_wait_brings_messages_back(address, stream):
    await publish(address, stream, 2)
    async with consume(address, stream, credit=10, ackWaitMs=100) as socket:
        got = await deliveries(socket, 4)
        assert [(frame["seq"], frame["attempt"]) for frame in got] == [(1, 1), (2, 1), (1, 2), (2, 2)], got
        await socket.send(json.dumps({"ackUpTo": 2}))
        await until(stream, lambda figures: figures["ackedTotal"] == 2)


async def main():
    scenarios = [
        credit_is_a_first_grant,
        refill_gives_credit_back,
        max_inflight_holds_deliveries_back,
        ack_wait_brings_messages_back,
    ]
    runs = [
        scenario(address, f"py/{name}/{scenario.__name__}")
        for name, address in (("http", HTTP), ("ws", WS))
        for scenario in scenarios
    ]
    await asyncio.wait_for(asyncio.gather(*runs), 18)


asyncio.run(main())
