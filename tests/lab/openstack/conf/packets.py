"""Packets of a pod, over IPv4 and IPv6.
usage: packets.py answer PORT..   answers whatever comes to these TCP and UDP ports
       packets.py answers PORT    whether they do, of this host itself
       packets.py reach           reads a JSON list of {"protocol", "address", "port"}: prints which of them answer, in that order"""
import asyncio
import json
import socket
import sys

WAIT = 4          # seconds: a SYN is sent again after one and three
AGAIN = .7


async def greet(_, writer):
    writer.write(b'.')
    writer.close()


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


match sys.argv[1]:
    case 'answer':
        asyncio.run(answer([int(port) for port in sys.argv[2:]]))
    case 'answers':
        own = [{'protocol': protocol, 'address': '::1', 'port': int(sys.argv[2])} for protocol in ('TCP', 'UDP')]
        sys.exit(not all(asyncio.run(reach(own))))
    case 'reach':
        json.dump(asyncio.run(reach(json.load(sys.stdin))), sys.stdout)
