"""What the tests of ``aibridge doctor`` share."""

import socket
from contextlib import closing

from .parts import CommandTestCase


def free_port() -> int:
    """A port on which nothing listens."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        return int(server.getsockname()[1])


class DoctorTestCase(CommandTestCase):
    """``aibridge doctor``, on a sound configuration in which a test plants a fault; nothing is asked of providers."""

    def setUp(self) -> None:
        super().setUp()
        with socket.create_server(("127.0.0.1", 0)) as taken:  # so that the ports are two
            admin_port = free_port()
            port = taken.getsockname()[1]
        self.sound = {
            "server": f'listen = "{port}"\nadmin_listen = "{admin_port}"\n',
            "database": f'url = "sqlite:///{self.home}/x.sqlite"\nspool_dir = "{self.home}/spool"\n',
            "providers.openai": "",
        }

    def examine(self, **sections: str) -> tuple[int, str, str]:
        """The command, on a sound configuration with these sections in place of its own."""
        tables = self.sound | {name.replace("__", "."): text for name, text in sections.items()}
        path = self.write("aibridge.toml", "".join(f"[{name}]\n{text}\n" for name, text in tables.items()))
        path.chmod(0o600)
        return self.run_command("doctor", "--offline", "--config", str(path))

    def assert_found(self, state: str, *words: str, **sections: str) -> None:
        """The fault is found, with a way to mend it, and decides about the exit status."""
        status, out, err = self.examine(**sections)
        lines = out.splitlines()
        for number, line in enumerate(lines):
            if line.startswith(state) and all(word in " ".join(lines[number : number + 2]) for word in words):
                self.assertIn("mend: ", lines[number + 1])
                break
        else:
            self.fail(f"{words} not in:\n{out}{err}")
        self.assertEqual(status, 1 if state == "broken" else 0, err)
