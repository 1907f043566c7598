"""A relay on 127.0.0.1 in a thread: it passes bytes on to another port, and can speak TLS while doing so."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_BLOCK_BYTES = 1 << 16


@contextmanager
def relaying(to: int, *, port: int = 0, certificate: Path | None = None) -> Iterator[int]:
    """A relay to the port `to`; its own port.

    With a certificate, whose key lies beside it as `.key`, it speaks TLS.
    """
    context = None
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, certificate.with_suffix(".key"))
    loop = asyncio.new_event_loop()

    async def link(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.CancelledError):
            further_reader, further_writer = await asyncio.open_connection("127.0.0.1", to)
            await asyncio.gather(_pass_on(reader, further_writer), _pass_on(further_reader, writer))

    async def stop(server: asyncio.Server) -> None:
        server.close()
        calls = asyncio.all_tasks() - {asyncio.current_task()}
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)

    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        serving = asyncio.start_server(link, "127.0.0.1", port, ssl=context)
        server = asyncio.run_coroutine_threadsafe(serving, loop).result()
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            asyncio.run_coroutine_threadsafe(stop(server), loop).result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while block := await reader.read(_BLOCK_BYTES):
            writer.write(block)
            await writer.drain()
    finally:
        writer.close()


class Authority:
    """A certificate authority that nobody trusts yet. Needs `openssl`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.certificate = folder / "authority.pem"
        subject = ["-subj", "/CN=an authority of one's own", "-addext", "basicConstraints=critical,CA:TRUE"]
        self._openssl("req", "-x509", "-days", "2", *_KEY, *self._named("authority"), *subject)

    def certify(self, name: str, host: str) -> Path:
        """A certificate for a host, given as `IP:…` or `DNS:…`; its key lies beside it."""
        request, extensions = self._folder / f"{name}.csr", self._folder / f"{name}.ext"
        certificate = self._folder / f"{name}.pem"
        key = self._folder / f"{name}.key"
        extensions.write_text(f"subjectAltName={host}\nbasicConstraints=CA:FALSE\n")
        self._openssl("req", *_KEY, "-keyout", str(key), "-out", str(request), "-subj", f"/CN={name}")
        signed = ["-CA", str(self.certificate), "-CAkey", str(self.certificate.with_suffix(".key"))]
        into = ["-CAcreateserial", "-days", "2", "-extfile", str(extensions), "-out", str(certificate)]
        self._openssl("x509", "-req", "-in", str(request), *signed, *into)
        return certificate

    def _named(self, name: str) -> list[str]:
        return ["-keyout", str(self._folder / f"{name}.key"), "-out", str(self._folder / f"{name}.pem")]

    @staticmethod
    def _openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], check=True, capture_output=True)


_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
