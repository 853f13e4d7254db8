"""``aibridge doctor``: what is wrong with an installation, and how to mend it. It changes nothing."""

from collections import Counter
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from attrs import frozen

from ..config.environment import CONFIG_VARIABLE
from ..config.loader import load_config
from ..config.model import Config
from ..config.sources import KeyPath, read_toml
from ..costs.load import check_price_file
from ..errors import AIBridgeError, ConfigError
from .certificate_checks import check_certificates
from .database_checks import check_database, check_spool
from .findings import BROKEN, OK, WARNING, Check, Finding, Redactor, run_check
from .output import paint
from .port_checks import check_ports
from .remote_checks import check_remotely
from .settings_checks import ConfigFile, check_permissions, check_settings
from .user_checks import check_users

_COLOURS = {OK: 32, WARNING: 33, BROKEN: 31}


@frozen
class Patient:
    """The configuration to look at."""

    file: ConfigFile
    config: Config | ConfigError
    """The error if it can't be used."""


def read_configuration(
    path: str | None, environ: Mapping[str, str], options: Mapping[str, tuple[KeyPath, str]]
) -> Patient:
    """Return the configuration, or the error in it."""
    path = path or environ.get(CONFIG_VARIABLE) or None
    try:
        config = load_config(path, environ, options)
        check_price_file(config.prices)
        return Patient(ConfigFile(Path(path) if path else None, read_toml(path) if path else {}), config)
    except ConfigError as error:
        return Patient(ConfigFile(None, {}), error)


def examine(patient: Patient, offline: bool) -> Iterator[str]:
    """Look at configuration, database, disk, ports, providers and MCP servers; say what is wrong and how to mend it."""
    if isinstance(patient.config, ConfigError):
        yield from _show(Finding(BROKEN, str(patient.config), "correct this setting; then run aibridge doctor again"))
        raise AIBridgeError("the configuration can't be used; nothing else was looked at")
    config, counts = patient.config, Counter[str]()
    redact = Redactor(config).redact
    for finding in _findings(patient.file, config, offline):
        counts[finding.state] += 1
        yield from map(redact, _show(finding))
    warnings = f"{counts[WARNING]} warning{'s' * (counts[WARNING] != 1)}"
    if counts[BROKEN]:
        raise AIBridgeError(f"{counts[BROKEN]} broken, {warnings}")
    yield f"nothing is broken, {warnings}"


def _findings(file: ConfigFile, config: Config, offline: bool) -> Iterator[Finding]:
    local: Mapping[str, Check] = {
        "configuration": partial(check_settings, file, config),
        "permissions": partial(check_permissions, file, config),
        "certificates": partial(check_certificates, config),
        "database": partial(check_database, config),
        "users": partial(check_users, config),
        "spool": partial(check_spool, config),
        "listeners": partial(check_ports, config),
    }
    for name, check in local.items():
        yield from run_check(name, check)
    if not offline:
        yield from check_remotely(config)


def _show(finding: Finding) -> Iterator[str]:
    yield f"{paint(f'{finding.state:<8}', _COLOURS[finding.state])} {' '.join(finding.text.split())}"
    if finding.mend:
        yield f"{'':<8}   mend: {finding.mend}"
