"""A longer way to a server: a TCP forwarder that holds every byte half a round trip each way, and counts turns.

A turn is one change of direction: bytes from the client after bytes from the server. Several requests that travel
together are one turn, so turns are round trips as a client that waits for answers sees them.
"""

import asyncio
import socket
import threading


class Way:
    """Forwards 127.0.0.1:`port` to (host, 22) in a thread of its own. `rtt` in seconds."""

    def __init__(self, address, rtt, port=22):
        self._target = (address, port)
        self._rtt = rtt
        self.turns = 0
        self.connections = 0
        self._loop = asyncio.new_event_loop()
        ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(ready,), daemon=True)
        self._thread.start()
        ready.wait()

    def _run(self, ready):
        asyncio.set_event_loop(self._loop)
        self._server = self._loop.run_until_complete(asyncio.start_server(self._accept, "127.0.0.1", 0))
        self.port = self._server.sockets[0].getsockname()[1]
        ready.set()
        self._loop.run_forever()

    def reset(self):
        self.turns = 0
        self.connections = 0

    def close(self):
        async def stop():
            self._server.close()
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)
            self._loop.stop()
        asyncio.run_coroutine_threadsafe(stop(), self._loop)
        self._thread.join()
        self._loop.close()

    async def _accept(self, reader, writer):
        self.connections += 1
        state = {"last": "client"}
        # The handshake's own round trip, and the way of its last packet.
        await asyncio.sleep(1.5 * self._rtt)
        up_reader, up_writer = await asyncio.open_connection(*self._target)
        for side in (writer, up_writer):
            side.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            await asyncio.gather(self._carry(reader, up_writer, "client", state),
                                 self._carry(up_reader, writer, "server", state))
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            for side in (writer, up_writer):
                side.close()

    async def _carry(self, reader, writer, side, state):
        """Reads at once, writes half a round trip later, in order."""
        queue = asyncio.Queue()
        pump = asyncio.ensure_future(self._release(queue, writer))
        try:
            while True:
                # Acknowledged at once, as a kernel does that sees its peer wait; the option does not stick.
                reader._transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
                data = await reader.read(1 << 16)
                if side == "client" and state["last"] == "server" and data:
                    self.turns += 1
                if data:
                    state["last"] = side
                queue.put_nowait((self._loop.time() + self._rtt / 2, data))
                if not data:
                    await pump
                    return
        finally:
            pump.cancel()

    async def _release(self, queue, writer):
        while True:
            at, data = await queue.get()
            wait = at - self._loop.time()
            if wait > 0:
                await asyncio.sleep(wait)
            if not data:
                writer.write_eof()
                return
            writer.write(data)
