"""A slow way to a server: everything that is sent to it, and everything that it answers, arrives later."""

import asyncio
import threading


class SlowLink:
    """Listens on this machine's address in the lab's network and passes on to a host's SSH server, `delay` seconds late
    each way. Stands for the host in an inventory: `name` and `address`."""

    def __init__(self, lab, host, delay):
        self.name = host.name
        self._target = host.address
        self._delay = delay
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        listen = f"10.99.{lab.number}.254"
        self._server = asyncio.run_coroutine_threadsafe(asyncio.start_server(self._serve, listen, 0), self._loop).result(10)
        port = self._server.sockets[0].getsockname()[1]
        self.address = f"{listen}:{port}"
        keys = [line.split(" ", 1) for line in lab.known_hosts.read_text().splitlines()]
        self.known_hosts = "".join(f"[{listen}]:{port} {key}\n" for names, key in keys if host.address in names.split(","))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _close(self):
        self._server.close()
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)

    async def _serve(self, reader, writer):
        there_reader, there_writer = await asyncio.open_connection(self._target, 22)
        try:
            await asyncio.gather(self._pass(reader, there_writer), self._pass(there_reader, writer))
        except asyncio.CancelledError:
            writer.close()  # the lab ends

    async def _pass(self, reader, writer):
        """What comes in leaves in the same order, each piece `delay` after its arrival."""
        pieces = asyncio.Queue()

        async def leave():
            while True:
                at, data = await pieces.get()
                await asyncio.sleep(max(0, at - self._loop.time()))
                if not data:
                    break
                writer.write(data)
                await writer.drain()
            writer.close()

        leaving = asyncio.ensure_future(leave())
        try:
            while True:
                data = await reader.read(65536)
                pieces.put_nowait((self._loop.time() + self._delay, data))
                if not data:
                    break
            await leaving
        except ConnectionError:
            leaving.cancel()
            writer.close()
