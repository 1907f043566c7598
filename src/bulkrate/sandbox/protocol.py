"""uvicorn's httptools protocol, with two changes: the app can hang up, and unreadable HTTP gets a JSON error.

It never parses or answers anything else itself.
"""

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from bulkrate.sandbox.asgi import TRANSPORT
from bulkrate.sandbox.refusals import bad


class SandboxProtocol(HttpToolsProtocol):
    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["state"][TRANSPORT] = self.transport

    def send_400_response(self, msg: str) -> None:
        body = bad(msg).body()
        head = [b"HTTP/1.1 400 Bad Request"]
        head += [name + b": " + value for name, value in self.server_state.default_headers]
        head += [b"content-type: application/json", b"content-length: %d" % len(body), b"connection: close"]
        self.transport.write(b"\r\n".join(head) + b"\r\n\r\n" + body)
        self.transport.close()
