"""The operator's command ``aibridge``. It reads the same configuration as the gateway."""

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from io import TextIOWrapper
from pathlib import Path
from signal import SIGINT, SIGPIPE
from typing import TYPE_CHECKING, Any

from .commands.parser import make_parser
from .errors import AIBridgeError, ConfigError

if TYPE_CHECKING:
    from .config.model import Config


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Return its exit status: 1, after one line on standard error, if it failed.

    Without arguments, show the help.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments[:1] == ["run"]:
        return run_gateway(arguments[1:])
    parser = make_parser()
    if not arguments:
        parser.print_help(sys.stderr)
        return 2
    options = vars(parser.parse_args(arguments))
    is_data = options.pop("is_data")
    if isinstance(sys.stdout, TextIOWrapper):
        # An ASCII-only locale has no form for most names. An export is UTF-8 everywhere.
        if is_data:
            sys.stdout.reconfigure(encoding="utf-8")
        else:
            sys.stdout.reconfigure(errors="backslashreplace")
    return _write_lines(run_command(**options))


def _write_lines(lines: Iterator[str]) -> int:
    """Write a command's lines to standard output, and a line on its failure to standard error. Return the status."""
    try:
        for line in lines:
            sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
    except AIBridgeError as error:
        sys.stderr.write(" ".join(str(error).split()) + "\n")
        return 1
    except KeyboardInterrupt:
        # What works in steps has kept those that were done.
        sys.stderr.write("\ninterrupted\n")
        return 128 + SIGINT
    except BrokenPipeError:  # the reader of the output, such as `head`, has enough
        _discard_output()
        return 128 + SIGPIPE
    except OSError as error:  # such as a full disk
        _discard_output()
        sys.stderr.write(f"{error.filename or 'standard output'}: {error.strerror or error}\n")
        return 1
    return 0


def _discard_output() -> None:
    """Write what is left of the output nowhere. Python would complain when it flushes at exit."""
    with suppress(OSError):  # there may be no descriptor
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def run_command(
    run: str, load: str, config: str | None, database: str | None, uses_database: bool, **options: Any
) -> Iterator[str]:
    """Yield the lines of a command: ``run`` and ``load`` name its functions, as `make_parser` has them."""
    command, read = find_function(run), find_function(load)
    overrides = {"--database": (("database", "url"), database)} if database is not None else {}
    configuration = read(config, os.environ, overrides)
    if uses_database and not (config or database):
        use_default_database(configuration, os.environ)
    yield from command(configuration, **options)


def find_function(name: str) -> Callable[..., Any]:
    """Return the function that ``module:function`` names. It is imported now, and not before."""
    module, _, function = name.partition(":")
    found: Callable[..., Any] = getattr(import_module(module, __package__), function)
    return found


def run_gateway(arguments: Sequence[str]) -> int:
    """Run the gateway in the foreground: ``aibridge run …`` is ``twistd -n aibridge …``, in the same runner."""
    from twisted.scripts import twistd

    sys.argv = ["aibridge", "--nodaemon", "aibridge", *arguments]
    twistd.run()
    return 0


def use_default_database(config: "Config", environ: Mapping[str, str]) -> None:
    """Say which database a command uses that was given none. Raise ConfigError if there is none in this folder."""
    from .commands.output import write_note
    from .config.environment import CONFIG_VARIABLE
    from .config.model import DEFAULT_DATABASE
    from .record.urls import parse_url

    if environ.get(CONFIG_VARIABLE) or config.database.url != DEFAULT_DATABASE:
        return  # the environment has it
    path = Path(parse_url(DEFAULT_DATABASE).database or "").absolute()
    if not path.exists():
        raise ConfigError("command line", "", f"there is no {path}: give --config FILE or --database URL")
    write_note(f"database: {path}, since neither --config nor --database was given")
