"""Packets of a pod, over IPv4 and IPv6.
usage: packets.py answer PORT..   answers whatever comes to these TCP and UDP ports
       packets.py answers PORT    whether they do, of this host itself
       packets.py reach           reads a JSON list of {"protocol", "address", "port"}: prints which of them answer, in that order
       packets.py stream ADDRESS PORT
                                  has who answers there send numbers, one after the other, over one TCP connection. For each line that is
                                  read it prints what came since the one before, as JSON: how many "numbers", the "longest" time without
                                  one in seconds, and whether the connection is "intact": open, with all numbers in their order"""
import asyncio
import json
import socket
import sys
import time

WAIT = 4          # seconds: a SYN is sent again after one and three
AGAIN = .7
TICK = .02


async def greet(reader, writer):
    try:
        writer.write(b'.')
        if await reader.read(1) == b'n':
            await count(writer)
    except OSError:
        pass
    finally:
        writer.close()


async def count(writer):
    number = 0
    while True:
        writer.write(b'%d\n' % number)
        await writer.drain()
        number += 1
        await asyncio.sleep(TICK)


class Echo(asyncio.DatagramProtocol):
    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, address):
        self.transport.sendto(data, address)


def bound(kind, port):
    one = socket.socket(socket.AF_INET6, kind)     # which takes IPv4 too
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    one.bind(('::', port))
    return one


async def answer(ports):
    loop = asyncio.get_running_loop()
    for port in ports:
        await loop.create_datagram_endpoint(Echo, sock=bound(socket.SOCK_DGRAM, port))
        await asyncio.start_server(greet, sock=bound(socket.SOCK_STREAM, port), backlog=128)
    await asyncio.Event().wait()


async def tcp(address, port):
    reader, writer = await asyncio.open_connection(address, port)
    answered = await reader.read(1)
    writer.close()
    return answered == b'.'


class Answered(asyncio.DatagramProtocol):
    def __init__(self):
        self.done = asyncio.get_running_loop().create_future()

    def datagram_received(self, data, _):
        if not self.done.done():
            self.done.set_result(data == b'.')

    def error_received(self, _):
        pass


async def udp(address, port):
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_datagram_endpoint(Answered, remote_addr=(address, port))
    try:
        while not protocol.done.done():
            transport.sendto(b'.')
            await asyncio.wait([protocol.done], timeout=AGAIN)
        return protocol.done.result()
    finally:
        transport.close()


async def answers(to):
    ask = {'TCP': tcp, 'UDP': udp}[to['protocol']]
    try:
        return await asyncio.wait_for(ask(to['address'], to['port']), WAIT)
    except (OSError, asyncio.TimeoutError):
        return False


async def reach(targets):
    return await asyncio.gather(*map(answers, targets))


class Numbers:
    def __init__(self):
        self.last, self.next, self.number, self.longest = time.monotonic(), 0, 0, 0.

    async def come(self, reader):
        await reader.readexactly(1)
        while line := await reader.readline():
            if int(line) != self.next:
                return
            now = time.monotonic()
            self.longest, self.last = max(self.longest, now - self.last), now
            self.number, self.next = self.number + 1, self.next + 1

    def since(self):
        came = self.number, max(self.longest, time.monotonic() - self.last)
        self.number, self.longest = 0, 0.
        return came


async def stream(address, port):
    reader, writer = await asyncio.wait_for(asyncio.open_connection(address, port), WAIT)
    writer.write(b'n')
    numbers = Numbers()
    coming = asyncio.create_task(numbers.come(reader))
    asked = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(asked), sys.stdin)
    while await asked.readline():
        number, longest = numbers.since()
        print(json.dumps({'numbers': number, 'longest': longest, 'intact': not coming.done()}), flush=True)


match sys.argv[1]:
    case 'answer':
        asyncio.run(answer([int(port) for port in sys.argv[2:]]))
    case 'answers':
        own = [{'protocol': protocol, 'address': '::1', 'port': int(sys.argv[2])} for protocol in ('TCP', 'UDP')]
        sys.exit(not all(asyncio.run(reach(own))))
    case 'reach':
        json.dump(asyncio.run(reach(json.load(sys.stdin))), sys.stdout)
    case 'stream':
        asyncio.run(stream(sys.argv[2], int(sys.argv[3])))
