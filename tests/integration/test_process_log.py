"""The log of a gateway's process, and its signals in the background."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from twisted.trial.unittest import SynchronousTestCase

from ..test_tap import PATIENCE, environment

RUN = "from twisted.scripts.twistd import run; run()"
LISTENERS = ["--listen", "tcp:0:interface=127.0.0.1", "--admin-listen", "off"]
HEADER = '[auth]\nmode = "header"\ntrusted_proxies = ["127.0.0.1"]\n[log]\nformat = "json"\n'
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
BODY = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "a-secret-prompt"}]}


class ProcessLogTestCase(SynchronousTestCase):
    """Processes in a folder of their own."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        (self.folder / "aibridge.toml").write_text(HEADER)

    def post(self, url: str, headers: dict[str, str], body: dict[str, Any] = BODY) -> int:
        """The status of a request to the model."""
        request = Request(f"{url}/anthropic/v1/messages", json.dumps(body).encode(), headers)
        try:
            with urlopen(request, timeout=PATIENCE) as answer:
                answer.read()
                return int(answer.status)
        except HTTPError as error:
            error.close()
            return error.code


class JSONTests(ProcessLogTestCase):
    """The log as JSON on standard output."""

    def test_joined(self) -> None:
        """Every line is an object, in any locale, and those of exchanges are joined with their rows by the ids."""
        command = [sys.executable, "-c", RUN, "-n", "aibridge", "--demo", "--config", "aibridge.toml", *LISTENERS]
        process = subprocess.Popen(command, cwd=self.folder, env=environment() | ASCII, stdout=subprocess.PIPE)
        self.addCleanup(process.communicate)
        self.addCleanup(process.kill)
        assert process.stdout is not None
        lines: list[dict[str, Any]] = []
        while not lines or "codex -c" not in lines[-1]["message"]:
            lines.append(json.loads(process.stdout.readline()))
        url = next(line["message"].split()[1] for line in lines if line["message"].startswith("gateway: "))
        user = {"X-Forwarded-User": "Zo\u00eb".encode().decode("latin-1"), "X-Request-Id": "request-\xe91"}
        statuses = [self.post(url, user), self.post(url, user), self.post(url, {}), self.post(url, user, {"model": 1})]
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=PATIENCE)
        self.assertNotIn(b"a-secret-prompt", out)
        lines += [json.loads(line) for line in out.splitlines()]
        self.assertEqual(statuses, [200, 200, 401, 400])
        self.assertEqual({type(line["time"]) for line in lines} | {*map(type, lines)}, {str, dict})
        exchanges = {line["interception"]: line for line in lines if line["event"] == "interception_ended"}
        with sqlite3.connect(self.folder / "aibridge-demo.sqlite") as database:
            rows = database.execute(
                "SELECT i.id, i.initiator_id, i.status, i.http_status, t.input_tokens, t.output_tokens"
                " FROM aibridge_interceptions i JOIN aibridge_token_usages t ON t.interception_id = i.id"
            ).fetchall()
        database.close()
        names = ("interception", "actor", "status", "http_status", "input_tokens", "output_tokens")
        self.assertEqual({tuple(line[name] for name in names) for line in exchanges.values()}, {*rows})
        self.assertEqual([line["actor"] for line in exchanges.values()], ["Zo\u00eb"] * 2)
        self.assertEqual({line["request_id"] for line in exchanges.values()}, {"request-.1"})
        refused = [line["error_class"] for line in lines if line["event"] == "request_refused"]
        self.assertEqual(refused, ["Unauthorized", "BadRequest"])


class DaemonTests(ProcessLogTestCase):
    """A gateway in the background, without a terminal."""

    def daemon(self, *arguments: str, log: str = "log.txt") -> tuple[int, str]:
        """Exit status and standard error of the process that is called."""
        twistd = [sys.executable, "-c", RUN, f"--pidfile={self.folder}/pid", f"--logfile={log}", "--rundir=other"]
        command = [*twistd, "aibridge", "--config", "aibridge.toml", *arguments]
        done = subprocess.run(
            command, cwd=self.folder, env=environment(), stderr=subprocess.PIPE, text=True, timeout=PATIENCE
        )
        return done.returncode, done.stderr

    def wait(self, path: Path, text: str) -> str:
        """The content of a file, once it has this text."""
        for _ in range(PATIENCE * 50):
            if path.exists() and text in (content := path.read_text()):
                return content
            time.sleep(0.02)
        raise AssertionError(f"no {text!r} in {path}")

    def test_signals(self) -> None:
        """SIGHUP reads the configuration again, SIGUSR1 opens the log again, and SIGTERM ends the daemon."""
        (self.folder / "other").mkdir()
        self.assertEqual(self.daemon("--demo", *LISTENERS), (0, ""))
        process_id = int((self.folder / "pid").read_text())
        self.addCleanup(self.kill, process_id)
        log = self.folder / "log.txt"
        url = next(
            line["message"].split()[1]
            for line in map(json.loads, log.read_text().splitlines())
            if line["message"].startswith("gateway: ")
        )
        self.assertEqual(self.post(url, {"X-Forwarded-User": "alice"}), 200)  # the status was true
        (self.folder / "aibridge.toml").write_text(HEADER + "[limits]\nconcurrent = 9\n")
        os.kill(process_id, signal.SIGHUP)
        self.wait(log, "changed: limits.concurrent")
        renamed = log.rename(f"{log}.1")
        os.kill(process_id, signal.SIGUSR1)
        self.wait(log, "is opened again")
        self.assertNotIn("is opened again", renamed.read_text())
        os.kill(process_id, signal.SIGTERM)
        self.wait(log, "Server Shut Down")

    def kill(self, process_id: int) -> None:
        """End a daemon that a failed test has left."""
        if (self.folder / "pid").exists():
            os.kill(process_id, signal.SIGKILL)

    def test_failed_start(self) -> None:
        """A daemon that can't start ends with status 1, and the process that was called says why, and does so too."""
        (self.folder / "other").mkdir()
        (self.folder / "other" / "aibridge-demo.sqlite").mkdir()
        status, said = self.daemon("--demo", *LISTENERS)
        self.assertEqual(status, 1)
        self.assertIn("database sqlite:///aibridge-demo.sqlite", said)
        status, said = self.daemon("--demo", *LISTENERS, log="other")
        self.assertEqual((status, said.count("\n")), (1, 1))
        self.assertIn("can't be written: Is a directory", said)
