"""The order of the package's rooms, and the consequences of importing it."""

import ast
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import aibridge

PACKAGE = Path(aibridge.__file__).parent
PURE = [
    *sorted((PACKAGE / "wire").rglob("*.py")),
    *sorted((PACKAGE / "costs").rglob("*.py")),
    *(PACKAGE / name for name in ("caches.py", "errors.py", "settings.py", "http/proxies.py", "record/records.py")),
]
PURE_NEED = {"attrs", "genai_prices", "msgspec", "orjson", "zstandard"}
IMPLEMENTATIONS = (
    "aibridge.bridge",
    "aibridge.config",
    "aibridge.http.agent",
    "aibridge.http.client_connection",
    "aibridge.http.pool",
    "aibridge.identity",
    "aibridge.providers",
    "aibridge.record.database",
    "aibridge.record.migrations",
    "aibridge.record.queue",
    "aibridge.record.recorder",
    "aibridge.record.schema",
    "aibridge.recorder",
    "aibridge.service",
    "aibridge.testing",
    "aibridge.upstream.client",
    "aibridge.upstream.relay",
)
HEAVY = (
    "autobahn",
    "txaio",
    "mcp",
    "opentelemetry",
    "genai_prices",
    "anyio",
    "uvloop",
    "alembic",
    "anthropic",
    "openai",
    "botocore",
    "google.auth",
    "azure",
)


def module_name(path):
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def is_type_checking(node):
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def imported(path):
    """The modules that a file imports anywhere in it as it runs, by their whole names."""
    name = module_name(path)
    here = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    tree = ast.parse(path.read_text())
    for_types = {id(node) for block in ast.walk(tree) if is_type_checking(block) for node in ast.walk(block)}
    for node in ast.walk(tree):
        if id(node) in for_types:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = here[: len(here) - node.level + 1] if node.level else []
            whole = ".".join([*base, *([node.module] if node.module else [])])
            yield whole
            yield from (f"{whole}.{alias.name}" for alias in node.names)


def import_graph():
    """For each module of the package, but its own head, the modules of the package that it imports."""
    paths = {module_name(path): path for path in PACKAGE.rglob("*.py")}
    del paths["aibridge"]
    return {name: {*imported(path)} & paths.keys() - {name} for name, path in paths.items()}


def reached(start, graph):
    """All that is reached from there, directly or through others, each with the path that leads to it."""
    ways = {}
    todo = [(start,)]
    for way in todo:
        for name in graph.get(way[-1], ()):
            if name not in ways:
                ways[name] = (*way, name)
                todo.append(ways[name])
    return ways


def room(name):
    """The folder of a module; a module at the top, and one that all others build on, is a room of its own."""
    if name == "aibridge.record.records":
        return name
    folder = ".".join(name.split(".")[:2])
    return folder if (PACKAGE / folder.split(".")[1]).is_dir() else name


def top_level(path):
    """The modules that a file imports as it is imported itself."""
    tree = ast.parse(path.read_text())
    for node in tree.body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


class RoomTests(SynchronousTestCase):
    """Protocol knowledge is without I/O, and an interception knows no implementation."""

    def test_pure(self):
        """The wire formats, prices, records and errors import one another at most, and nothing of Twisted."""
        rooms = {module_name(path) for path in PURE}
        for path in PURE:
            for name in imported(path):
                first = name.split(".")[0]
                inside = name in rooms or name.rpartition(".")[0] in rooms
                allowed = inside if first == "aibridge" else first in PURE_NEED or first in sys.stdlib_module_names
                self.assertTrue(allowed, f"{module_name(path)} imports {name}")

    def test_records_and_errors_stand_alone(self):
        """Errors and records, on which all others build, import nothing of the package."""
        for path in (PACKAGE / "errors.py", PACKAGE / "record" / "records.py"):
            self.assertEqual([name for name in imported(path) if name.startswith("aibridge")], [])

    def test_interception(self):
        """The story of an exchange is told in interfaces and values, and so is all that it builds on."""
        for name, way in reached("aibridge.interception", import_graph()).items():
            for implementation in IMPLEMENTATIONS:
                self.assertFalse(f"{name}.".startswith(f"{implementation}."), " imports ".join(way))

    def test_no_circles(self):
        """Rooms build on one another in one direction: none is reached from itself."""
        rooms = {}
        for name, others in import_graph().items():
            rooms.setdefault(room(name), set()).update(set(map(room, others)) - {room(name)})
        self.assertGreater(len(rooms), 20)
        for each in rooms:
            self.assertNotIn(each, reached(each, rooms), " imports ".join(reached(each, rooms).get(each, ())))

    def test_no_reactor(self):
        """No module takes the reactor as it is imported: it is passed in."""
        for path in PACKAGE.rglob("*.py"):
            self.assertNotIn("twisted.internet.reactor", list(top_level(path)), path)


class ImportTests(SynchronousTestCase):
    """The effects of ``import aibridge`` on a host program."""

    def test_installs_nothing(self):
        """No reactor is installed, and nothing is loaded that is needed only where it is configured."""
        heavy = ("twisted.internet.reactor", "twisted.internet.asyncioreactor", *HEAVY)
        script = f"import sys, aibridge; print([name for name in {heavy!r} if name in sys.modules])"
        environment = {"PYTHONPATH": str(PACKAGE.parent), "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, env=environment, timeout=60
        )
        self.assertEqual((done.stdout.strip(), done.stderr), ("[]", ""))

    def test_gateway_without_demo(self):
        """The test doubles, and twisted.trial with them, are loaded for the demo only, OpenTelemetry for traces only."""
        names = "{'aibridge.testing', 'opentelemetry'}"
        script = f"import sys, aibridge.service.standalone; print(bool({names} & sys.modules.keys()))"
        environment = {"PYTHONPATH": str(PACKAGE.parent), "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, env=environment, timeout=60
        )
        self.assertEqual((done.stdout.strip(), done.stderr), ("False", ""))

    def test_gateway_of_one_process(self):
        """What several processes need is loaded only with several workers."""
        script = "import sys, aibridge.tap, aibridge.service.standalone; print(*[m for m in sys.modules if 'aibridge.worker' in m])"
        environment = {"PYTHONPATH": str(PACKAGE.parent), "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, env=environment, timeout=60
        )
        self.assertEqual((done.stdout.strip(), done.stderr), ("", ""))

    def test_public_names(self):
        """Every public name can be imported: parts, interfaces, values, and errors to raise."""
        for name in aibridge.__all__:
            self.assertTrue(hasattr(aibridge, name), name)
        for name in (
            *(
                "GatewayService",
                "RequestBridge",
                "AnthropicProvider",
                "OpenAIProvider",
                "Metrics",
                "Actor",
                "__version__",
            ),
            *("IAuthenticator", "IRecorder", "InterceptionRecord", "InterceptionRecordEnded", "TokenUsageRecord"),
            *("PromptUsageRecord", "ToolUsageRecord", "ModelThoughtRecord"),
            *("AIBridgeError", "ConfigError", "RecordingError", "GatewayError"),
            *("Unauthorized", "Unavailable", "TooManyRequests"),
            *("MCPServerSettings", "Toolbox", "make_toolbox"),
        ):
            self.assertIn(name, aibridge.__all__)
