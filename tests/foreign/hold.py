"""A consumer that takes messages, prints the seq and attempt of each, and never acks: to be killed."""

import asyncio
import json
import sys

import websockets

ADDRESS, STREAM, CREDIT = sys.argv[1:4]


async def main():
    uri = f"ws://{ADDRESS}/v1/subscribe?stream={STREAM}&credit={CREDIT}"
    async with websockets.connect(uri) as socket:
        async for frame in socket:
            delivery = json.loads(frame)
            print(delivery["seq"], delivery["attempt"])


asyncio.run(main())
