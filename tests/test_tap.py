"""``twistd aibridge`` as it is typed, in processes of its own where that matters."""

import atexit
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from urllib.request import urlopen

from twisted.internet import defer
from twisted.internet.error import ReactorNotRunning
from twisted.internet.testing import MemoryReactorClock
from twisted.python import failure
from twisted.scripts.twistd import ServerOptions
from twisted.trial.unittest import SynchronousTestCase

import aibridge
from aibridge.config.loader import load_config
from aibridge.tap import Options, ProcessExit

TWISTD = [sys.executable, "-c", "from twisted.scripts.twistd import run; run()", "-n", "aibridge"]
RUN = [sys.executable, "-c", "import sys; from aibridge.cli import main; sys.exit(main())", "run"]
ROOT = str(Path(aibridge.__file__).parents[1])
PATIENCE = 30
"""Seconds for a process to do what it is asked."""


class OptionsTests(SynchronousTestCase):
    """The command line, in this process."""

    def test_what_was_given(self) -> None:
        """Only what was said sets anything, each option its own key."""
        options = Options()
        options.parseOptions(["--listen", "unix:/x", "--admin-listen", "off"])
        self.assertEqual(
            options.given(),
            {"--listen": (("server", "listen"), "unix:/x"), "--admin-listen": (("server", "admin_listen"), "off")},
        )

    def test_demo(self) -> None:
        """The demo records in a database of its own, whatever is configured, unless one is given beside it."""
        path = self.mktemp()
        Path(path).write_text('[database]\nurl_env = "MISSING"\nspool_dir = "spool"\n')
        environ = {"AIBRIDGE_DATABASE__SPOOL_DIR": "spool"}
        for arguments, url, spool in (
            ([], "sqlite:///aibridge-demo.sqlite", "aibridge-demo-spool"),
            (["--database", "sqlite:///mine.sqlite"], "sqlite:///mine.sqlite", "spool"),
        ):
            options = Options()
            options.parseOptions(["--demo", *arguments])
            database = load_config(path, environ, options.given()).database
            self.assertEqual((database.url, database.spool_dir), (url, spool))

    def test_reactor(self) -> None:
        """Nothing chooses a reactor before the options are made; they choose asyncio's, or leave the one there is."""
        show = "import sys; print('twisted.internet.reactor' in sys.modules);"
        after = "from twisted.internet import reactor; print(type(reactor).__name__)"
        made = f"import aibridge.service.gateway; from aibridge.tap import Options; {show} Options(); {after}"
        self.assertEqual(self.python(made), ["False", "AsyncioSelectorReactor"])
        select = "from twisted.internet import selectreactor; selectreactor.install();"
        self.assertEqual(self.python(select + made), ["True", "SelectReactor"])

    def python(self, code: str) -> list[str]:
        """The lines that a fresh interpreter prints."""
        ran = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True)
        self.assertEqual(ran.returncode, 0, ran.stderr)
        return ran.stdout.split()


class PidfileTests(SynchronousTestCase):
    """twistd's own option, in this process."""

    def pidfile(self, *arguments: str) -> str:
        """The pidfile that twistd uses with this command line."""
        self.patch(sys, "argv", ["twistd", *arguments])
        options = ServerOptions()
        options.parseOptions([*arguments])
        return Path(options["pidfile"]).name if options["pidfile"] else ""

    def test_only_on_request(self) -> None:
        """In the foreground there is none, unless it is asked for; a daemon has one."""
        self.patch(failure, "startDebugMode", lambda: None)  # of this process, by -b
        self.patch(defer, "setDebugging", lambda on: None)
        self.assertEqual(self.pidfile("-n", "aibridge"), "")
        self.assertEqual(self.pidfile("-b", "aibridge"), "")
        self.assertEqual(self.pidfile("--nodaemon", "--pidfile", "twistd.pid", "aibridge"), "twistd.pid")
        self.assertEqual(self.pidfile("-n", "--pidfile=mine.pid", "aibridge"), "mine.pid")
        self.assertEqual(self.pidfile("aibridge"), "twistd.pid")


class FileLimitTests(SynchronousTestCase):
    """The limit of open files."""

    def limits(self, soft: int, hard: int) -> tuple[str, str]:
        """The limits of a process that begins with these, after the gateway's start, and what the log says."""
        program = (
            "import resource, sys; from twisted.logger import globalLogBeginner, textFileLogObserver;"
            "globalLogBeginner.beginLoggingTo([textFileLogObserver(sys.stderr)]); from aibridge import tap;"
            f"resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard})); tap.raise_file_limit();"
            "sys.__stdout__.write('%s %s' % resource.getrlimit(resource.RLIMIT_NOFILE)); sys.__stdout__.flush()"
        )
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=PATIENCE)
        return done.stdout, done.stderr

    def test_raised(self) -> None:
        """It is raised as far as that is allowed, and the log says so."""
        limits, log = self.limits(256, 1024)
        self.assertEqual(limits, "1024 1024", log)
        self.assertIn("Up to 1024 files and connections can be open at once; the limit was 256.", log)

    def test_high_enough(self) -> None:
        """A limit that can't be raised stays."""
        self.assertEqual(self.limits(512, 512), ("512 512", ""))


class ProcessTests(SynchronousTestCase):
    """A gateway's process, from its start to its end."""

    command = TWISTD
    usage = "Usage: twistd [options] aibridge [options]"

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()

    def twistd(self, *arguments: str) -> "subprocess.Popen[str]":
        """A process of twistd in a folder of its own, which this test does not outlive."""
        process = subprocess.Popen(
            [*self.command, *arguments],
            cwd=self.folder,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.addCleanup(process.communicate)
        self.addCleanup(process.kill)
        return process

    def refused(self, *arguments: str) -> tuple[str, str]:
        """Output and errors of a gateway that must not start; the errors are one line."""
        process = self.twistd(*arguments)
        out, err = process.communicate(timeout=PATIENCE)
        self.assertEqual((process.returncode, err.count("\n")), (1, 1), err)
        return out, err.strip()

    def test_help(self) -> None:
        """It can be asked what it takes."""
        process = self.twistd("--help")
        out, _ = process.communicate(timeout=PATIENCE)
        self.assertEqual(process.returncode, 0)
        self.assertIn(self.usage, out)
        for option in ("--config", "--listen", "--admin-listen", "--database", "--workers", "--demo"):
            self.assertIn(option, out)
        self.assertIn("examples:\n", out)
        self.assertIn(" --config aibridge.toml --listen 9090", out)

    def test_version(self) -> None:
        """Its version can be asked for: aibridge's, not Twisted's."""
        process = self.twistd("--version")
        out, err = process.communicate(timeout=PATIENCE)
        self.assertEqual((process.returncode, out, err), (0, f"aibridge {aibridge.__version__}\n", ""))

    def test_wrong_option(self) -> None:
        """An option that isn't there is one line, and nothing else."""
        self.assertEqual(self.refused("--lisen", "x"), ("", "command line: option --lisen not recognized"))

    def test_wrong_value(self) -> None:
        """An option with a wrong value is one line, and nothing else."""
        for number, why in (
            ("0", "must be at least 1 and at most 256"),
            ("two", "must be a whole number, not a string"),
        ):
            self.assertEqual(self.refused("--workers", number), ("", f"command line: --workers: {why}"))
        out, err = self.refused("--admin-listen", "tcp:99999")
        self.assertEqual(
            (out, err), ("", "command line: --admin-listen: can't be listened on: no port 99999, the highest is 65535")
        )

    def test_wrong_file(self) -> None:
        """A wrong file is one line that names file, key and reason."""
        (self.folder / "a.toml").write_text("[server]\nlistn = 1")
        out, err = self.refused("--config", "a.toml")
        self.assertEqual((out, err), ("", "a.toml: server.listn: unknown; the nearest known name is listen"))

    def test_port_taken(self) -> None:
        """A port that another process has is one line on stderr."""
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            _, err = self.refused("--listen", f"tcp:{port}:interface=127.0.0.1", "--admin-listen", "off")
        self.assertIn(f"server.listen: Couldn't listen on 127.0.0.1:{port}", err)

    def test_no_database(self) -> None:
        """A database that can't be opened is one line on stderr."""
        _, err = self.refused("--database", "sqlite:////nowhere/x.sqlite", "--admin-listen", "off")
        self.assertIn("unable to open database file", err)

    def announced(self, process: "subprocess.Popen[str]") -> str:
        """What it says until it is up."""
        assert process.stdout is not None
        said = ""
        while "codex -c" not in said:
            line = process.stdout.readline()
            self.assertTrue(line, said)
            said += line
        return said

    def test_life(self) -> None:
        """It starts without a key, says where it is, answers, and ends with status 0 when it is asked to."""
        process = self.twistd("--demo", "--listen", "tcp:0:interface=127.0.0.1", "--admin-listen", "off")
        said = self.announced(process)
        base = re.search(r"ANTHROPIC_BASE_URL=(\S+)", said)
        assert base is not None
        with urlopen(base[1], timeout=PATIENCE) as answer:
            self.assertEqual(answer.status, 200)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=PATIENCE)
        self.assertEqual((process.returncode, err), (0, ""), out)
        self.assertTrue((self.folder / "aibridge-demo.sqlite").exists())

    def test_hangup_and_no_pidfile(self) -> None:
        """SIGHUP ends nothing, and says that all was read again. A pidfile is neither written nor read."""
        (self.folder / "twistd.pid").write_text(str(os.getpid()))
        process = self.twistd("--demo", "--listen", "tcp:0:interface=127.0.0.1", "--admin-listen", "off")
        self.announced(process)
        process.send_signal(signal.SIGHUP)
        assert process.stdout is not None
        self.assertIn("are read again; no setting has changed", process.stdout.readline())
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=PATIENCE)
        self.assertEqual((process.returncode, err), (0, ""), out)
        self.assertEqual((self.folder / "twistd.pid").read_text(), str(os.getpid()))


class StopTests(SynchronousTestCase):
    """The stop of the reactor."""

    def test_twice(self) -> None:
        """Two reasons to stop at the same time, such as a signal and the word of a parent, are no error."""
        reactor = MemoryReactorClock()
        stops = iter((lambda: None, self.not_running))
        self.patch(reactor, "stop", lambda: next(stops)())
        process_exit = ProcessExit(reactor)
        self.addCleanup(atexit.unregister, process_exit._exit)
        process_exit.stop_reactor()
        process_exit.stop_reactor()
        self.assertEqual([*stops], [])

    def not_running(self) -> None:
        """A reactor that stops already."""
        raise ReactorNotRunning("Can't stop reactor that isn't running.")


class RunCommandTests(ProcessTests):
    """``aibridge run`` is the same gateway, with the same options, messages and exit statuses."""

    command = RUN
    usage = "Usage: aibridge run [options]"


def environment() -> dict[str, str]:
    """This process' own, without anything that a gateway would heed."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ANTHROPIC_", "OPENAI_"))}
    return kept | {"PYTHONPATH": ROOT}
