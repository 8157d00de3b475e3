"""HTTP server of a pod: answers every GET with who it is and what it was asked.
usage: web.py NAME PORT [FILE]   FILE: certificate and key, PEM; it answers over TLS then"""
import http.server
import json
import socket
import socketserver
import ssl
import sys


class Answer(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'

    def do_GET(self):
        body = json.dumps({'name': sys.argv[1], 'path': self.path,
                           'headers': {k.lower(): v for k, v in self.headers.items()}}).encode()
        self.send_response(200)
        self.send_header('Content-Type', 'application/json')
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Server(socketserver.ThreadingTCPServer):      # an HTTPServer looks its own name up first, for 10 s
    address_family = socket.AF_INET6                # which takes IPv4 too
    allow_reuse_address = daemon_threads = True
    request_queue_size = 128


server = Server(('::', int(sys.argv[2])), Answer)
if len(sys.argv) > 3:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[3])
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
server.serve_forever()
