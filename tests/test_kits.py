"""The kits in ``packaging/``: what they name exists, and the programs that they are for accept them.

Those programs need not be installed. What can be said without them is always tested.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest import skipUnless

import yaml
from twisted.trial.unittest import SynchronousTestCase

from aibridge.boards.files import make_files
from aibridge.commands.parser import make_parser
from aibridge.config.loader import load_config
from aibridge.config.sources import read_toml
from aibridge.tap import Options

from .http.certificates import make_certificate

ROOT = Path(__file__).parents[1]
KITS = ROOT / "packaging"
UNIT = KITS / "systemd" / "aibridge.service"
COMPOSE = KITS / "docker" / "compose.yaml"
CHART = KITS / "helm" / "aibridge"


def program(name: str) -> str:
    """The path of a program, also where only administrators look for it; empty without it."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") or ""


class KitTestCase(SynchronousTestCase):
    """Programs of others, and configurations."""

    def check(self, *command: str, **environment: str) -> str:
        """Run a program, which must find no fault. Return what it prints."""
        done = subprocess.run(
            [program(command[0]), *command[1:]],
            capture_output=True,
            text=True,
            env=os.environ | environment,
            timeout=60,
        )
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done.stdout + done.stderr

    def load(self, content: str, **environment: str) -> Any:
        """A configuration that the gateway can start with."""
        path = Path(self.mktemp())
        path.write_text(content)
        return load_config(str(path), environment)


class SystemdTests(KitTestCase):
    """The unit."""

    def values(self, key: str) -> list[str]:
        """The values of a key."""
        return re.findall(rf"^{key}=(.*)$", UNIT.read_text(), re.MULTILINE)

    def test_command(self) -> None:
        """The unit runs a command that there is, with options that it has, and waits longer than a drain takes."""
        [command] = self.values("ExecStart")
        words = shlex.split(command)
        self.assertEqual((Path(words[0]).name, words[1]), ("aibridge", "run"))
        Options().parseOptions(words[2:])
        [stop] = self.values("TimeoutStopSec")
        self.assertGreater(int(stop), load_config(None, {}).server.drain_seconds)
        self.assertEqual((self.values("Type"), self.values("ExecReload")), (["notify"], ["/bin/kill -HUP $MAINPID"]))

    @skipUnless(program("systemd-analyze"), "systemd is not installed")
    def test_verify(self) -> None:
        """systemd finds no fault in the unit, and calls it well protected."""
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        unit = folder / UNIT.name
        unit.write_text(UNIT.read_text().replace("/opt/aibridge/bin/aibridge", sys.executable))
        self.assertEqual(self.check("systemd-analyze", "verify", "--man=no", str(unit)), "")
        self.check("systemd-analyze", "security", "--offline=yes", "--threshold=20", str(unit))


class DockerTests(KitTestCase):
    """The image, and the compose file."""

    def setUp(self) -> None:
        self.lines = (KITS / "docker" / "Dockerfile").read_text().splitlines()
        self.compose = yaml.safe_load(COMPOSE.read_text())

    def test_image(self) -> None:
        """The image has what it copies, runs a command that there is, and not as root; it has volume and health check."""
        for line in self.lines:
            if line.startswith("COPY ") and "--from" not in line:
                for name in line.split()[1:-1]:
                    self.assertTrue((ROOT / name).exists(), name)
        text = "\n".join(self.lines)
        for expected in (
            'ENTRYPOINT ["aibridge"]',
            'CMD ["run"]',
            "USER 10001:10001",
            "STOPSIGNAL SIGTERM",
            "HEALTHCHECK",
        ):
            self.assertIn(expected, text)
        self.assertIn('VOLUME ["/var/lib/aibridge"]', text)

    def test_configuration(self) -> None:
        """The image's configuration works, keeps everything in the volume, and lets nobody in without a key."""
        config = self.load((KITS / "docker" / "aibridge.toml").read_text())
        self.assertEqual(config.auth.mode, "keys")
        for path in (config.database.url.removeprefix("sqlite:///"), config.database.spool_dir):
            self.assertTrue(path.startswith("/var/lib/aibridge/"), path)
        health = next(line for line in self.lines if "healthz" in line)
        self.assertIn(f":{config.server.admin_listen.split(':')[1]}/healthz", health)

    def test_compose(self) -> None:
        """The gateway's variables are settings that there are, its ports those that it listens on."""
        gateway = self.compose["services"]["aibridge"]
        variables = {name: re.sub(r"\$\{(\w+)[^}]*\}", "word", value) for name, value in gateway["environment"].items()}
        config = self.load((KITS / "docker" / "aibridge.toml").read_text(), **variables)
        self.assertEqual(config.database.url, "postgresql://aibridge:word@postgres/aibridge")
        self.assertIn("postgres", self.compose["services"])
        for published in gateway["ports"]:
            self.assertTrue(published.startswith("127.0.0.1:"), published)
            self.assertIn(published.rpartition(":")[2], config.server.listen)
        grace = int(gateway["stop_grace_period"].removesuffix("s"))
        self.assertGreater(grace, config.server.drain_seconds)
        targets = yaml.safe_load((KITS / "docker" / "prometheus.yml").read_text())["scrape_configs"][0]
        self.assertEqual(targets["static_configs"], [{"targets": ["aibridge:8081"]}])
        self.assertIn("tcp:8081", config.server.admin_listen)

    def test_commands(self) -> None:
        """Each command of the gateway that the compose file runs is there."""
        for name, service in self.compose["services"].items():
            if service.get("image") == "aibridge" and "command" in service:
                make_parser().parse_args(service["command"])
                self.assertNotIn("ports", service, name)

    def test_boards(self) -> None:
        """Grafana and Prometheus get the folders that ``aibridge grafana`` writes, and the variables that it names."""
        files = make_files()
        services = self.compose["services"]
        [out] = services["boards"]["volumes"]
        self.assertEqual(services["boards"]["command"][-1], out.rpartition(":")[2])
        for service, place in (("grafana", "/etc/grafana/provisioning"), ("prometheus", "/etc/prometheus/rules")):
            [mount] = [each for each in services[service]["volumes"] if f":{place}:" in each]
            folder = mount.split(":")[0].removeprefix("./boards/")
            self.assertTrue(any(name.startswith(f"{folder}/") for name in files), folder)
        named = set(re.findall(r"\$\{?(AIBRIDGE_\w+)", "".join(files.values())))
        self.assertEqual(named - {*services["grafana"]["environment"]}, set())

    @skipUnless(program("docker-compose"), "docker-compose is not installed")
    def test_compose_file(self) -> None:
        """docker-compose reads the file."""
        passwords = {"POSTGRES_PASSWORD": "x", "GRAFANA_PASSWORD": "x"}
        self.check("docker-compose", "-f", str(COMPOSE), "config", "-q", **passwords)

    @skipUnless(program("hadolint"), "hadolint is not installed")
    def test_dockerfile(self) -> None:
        """hadolint finds no fault."""
        self.check("hadolint", str(KITS / "docker" / "Dockerfile"))

    @skipUnless(program("promtool"), "Prometheus is not installed")
    def test_prometheus(self) -> None:
        """Prometheus reads its file."""
        self.check("promtool", "check", "config", "--syntax-only", str(KITS / "docker" / "prometheus.yml"))


class ChartTests(KitTestCase):
    """The Helm chart."""

    def setUp(self) -> None:
        self.values = yaml.safe_load((CHART / "values.yaml").read_text())
        self.templates = {path.name: path.read_text() for path in (CHART / "templates").iterdir()}

    def test_configuration(self) -> None:
        """The configuration works with the secrets' variables, and listens where the pods' probes and ports are."""
        secrets = {secret["variable"]: "sk-word" for secret in self.values["secrets"]}
        config = self.load(self.values["config"], AIBRIDGE_DATABASE_URL="postgresql://u@h/db", **secrets)
        self.assertEqual(config.warnings, ())
        self.assertEqual([config.providers[name].api_key for name in ("anthropic", "openai")], ["sk-word"] * 2)
        deployment = self.templates["deployment.yaml"]
        for name, listener in (("http", config.server.listen), ("admin", config.server.admin_listen)):
            self.assertIn(f"{{name: {name}, containerPort: {listener.split(':')[1]}}}", deployment)
        pauses = self.values["preStopSeconds"] + config.server.drain_seconds
        self.assertGreater(self.values["terminationGracePeriodSeconds"], pauses)
        self.assertIn(f"mountPath: {Path(config.database.spool_dir).parent}}}", deployment)

    def test_values(self) -> None:
        """Each value that a template uses is there, and each that is there is used."""
        used = {name for text in self.templates.values() for name in re.findall(r"\.Values\.([\w.]+)", text)}
        for name in used:
            value: Any = self.values
            for part in name.split("."):
                self.assertIn(part, value, name)
                value = value[part]
        self.assertEqual({name.split(".")[0] for name in used}, {*self.values})

    def test_version(self) -> None:
        """The chart runs this version."""
        chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
        self.assertIn(f'__version__ = "{chart["appVersion"]}"', (ROOT / "aibridge" / "__init__.py").read_text())

    @skipUnless(program("helm"), "Helm is not installed")
    def test_helm(self) -> None:
        """Helm finds no fault, and makes the objects, with everything that can be switched on."""
        switches = ["autoscaling.enabled=true", "serviceMonitor.enabled=true"]
        options = ["--kube-version", "1.30", *(word for switch in switches for word in ("--set", switch))]
        self.check("helm", "lint", "--strict", str(CHART))
        objects = [
            each for each in yaml.safe_load_all(self.check("helm", "template", "x", str(CHART), *options)) if each
        ]
        self.assertEqual(
            {each["kind"] for each in objects},
            {
                *("Deployment", "Service", "ConfigMap", "ServiceAccount", "PodDisruptionBudget"),
                *("HorizontalPodAutoscaler", "ServiceMonitor", "NetworkPolicy"),
            },
        )
        [config] = [each for each in objects if each["kind"] == "ConfigMap"]
        path = Path(self.mktemp())
        path.write_text(config["data"]["aibridge.toml"])
        self.assertIn("server", read_toml(str(path)))


class ProxyTests(KitTestCase):
    """The snippets for proxies in front."""

    def test_manual(self) -> None:
        """The manual shows the same as the kits have."""
        page = (ROOT / "docs" / "proxies.md").read_text()
        for path in (KITS / "nginx" / "aibridge.conf", KITS / "caddy" / "Caddyfile"):
            self.assertIn(f"\n{path.read_text()}```\n", page)

    @skipUnless(program("nginx"), "nginx is not installed")
    def test_nginx(self) -> None:
        """nginx accepts its file, with a certificate in the place of the real one."""
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        (folder / "pem").write_bytes(make_certificate("ai.example"))
        content = (KITS / "nginx" / "aibridge.conf").read_text()
        content = re.sub(r"/etc/ssl/ai.example.(pem|key)", str(folder / "pem"), content)
        places = "".join(
            f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        head = f"pid {folder}/pid; error_log stderr; events {{}} http {{ access_log off; {places}\n"
        (folder / "nginx.conf").write_text(f"{head}{content}}}\n")
        self.check("nginx", "-t", "-p", str(folder), "-c", str(folder / "nginx.conf"))

    @skipUnless(program("caddy"), "Caddy is not installed")
    def test_caddy(self) -> None:
        """Caddy accepts its file."""
        home = str(Path(self.mktemp()).absolute())
        file = str(KITS / "caddy" / "Caddyfile")
        self.check("caddy", "validate", "--adapter", "caddyfile", "--config", file, HOME=home, XDG_DATA_HOME=home)


class AlertTests(KitTestCase):
    """The alerts of the manual."""

    def setUp(self) -> None:
        page = (ROOT / "docs" / "monitoring.md").read_text()
        [self.rules] = [block for block in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL) if "groups:" in block]
        self.page = page

    def test_names(self) -> None:
        """Each metric that an alert looks at is there, and the page says what to do about each alert."""
        metrics = (ROOT / "docs" / "operating.md").read_text()
        for rule in yaml.safe_load(self.rules)["groups"][0]["rules"]:
            self.assertIn(f"\n| {rule['alert']} |", self.page)
            for name in re.findall(r"\b[a-z]+(?:_[a-z]+)+\b", re.sub(r"\w+_quantile|\{.*?\}", "", rule["expr"])):
                self.assertIn(f"| `{name.removesuffix('_bucket')}` |", metrics, rule["alert"])

    @skipUnless(program("promtool"), "Prometheus is not installed")
    def test_rules(self) -> None:
        """Prometheus accepts the rules."""
        path = Path(self.mktemp()).absolute()
        path.write_text(self.rules)
        self.check("promtool", "check", "rules", "--lint=all", "--lint-fatal", str(path))
