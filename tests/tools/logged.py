"""Run as a program: a session with the `Menu` where standard error is a log, as under ``twistd``; prints its state."""

import sys

if __name__ == "__main__":
    from twisted.logger import Logger, LoggingFile

    sys.stderr = LoggingFile(Logger())

    from twisted.internet.defer import Deferred
    from twisted.internet.task import react

    from aibridge.tools.mcp_session import ServerSession
    from aibridge.tools.settings import MCPServerSettings

    async def main(reactor: object) -> None:
        session = ServerSession(
            MCPServerSettings(name="menu", transport="stdio", command=sys.executable, args=sys.argv[1:]), reactor
        )
        session.start()
        await session.settled()
        sys.stdout.write(session.state)
        await session.stop()

    react(lambda reactor: Deferred.fromCoroutine(main(reactor)))
