"""The differences between the configuration that a gateway runs with and the one that is read again."""

from collections.abc import Iterator, Mapping

from attrs import evolve, fields, frozen, has

from ..config.model import Config

_FIXED_SECTIONS = ("database", "budget")
_FIXED_SERVER_KEYS = ("listen", "admin_listen", "workers", "tls_certificate", "tls_key")
"""Keys of the ``server`` section that can't change while the gateway runs."""


@frozen
class Changes:
    """A configuration that was read again, as far as a running gateway can use it."""

    config: Config
    """The new configuration, with the present values of the settings that can't change."""
    applied: tuple[str, ...]
    """The keys that change. The values of some are secret, so none is shown."""
    left: tuple[str, ...]
    """The keys that differ in the files, and can't change while the gateway runs."""


def compare(present: Config, new: Config) -> Changes:
    """Return the changes that lead from the present configuration to the new one."""
    keys = [*_differences(present, new)]
    server = {name: getattr(present.server, name) for name in _FIXED_SERVER_KEYS if hasattr(present.server, name)}
    return Changes(
        evolve(new, server=evolve(new.server, **server), **{name: getattr(present, name) for name in _FIXED_SECTIONS}),
        tuple(".".join(key) for key in keys if not _is_fixed(*key)),
        tuple(".".join(key) for key in keys if _is_fixed(*key)),
    )


def _is_fixed(section: str, key: str) -> bool:
    return section in _FIXED_SECTIONS or (section == "server" and key in _FIXED_SERVER_KEYS)


def _differences(present: Config, new: Config) -> Iterator[tuple[str, str]]:
    """Yield section and key of each setting that differs. Of tables by name, such as providers, the name is the key."""
    for section in fields(Config):
        old, other = getattr(present, section.name), getattr(new, section.name)
        if section.eq and old != other:
            yield from ((section.name, key) for key in _keys(old, other))


def _keys(old: object, new: object) -> Iterator[str]:
    """Yield the keys in which two values of one section differ. A section may be missing on one side."""
    cls = type(new if old is None else old)
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        yield from (str(name) for name in sorted({*old, *new}) if old.get(name) != new.get(name))
    elif has(cls):
        for key in fields(cls):
            before, after = getattr(old, key.name, None), getattr(new, key.name, None)
            if key.name == "servers":  # of MCP, each in a table of its own
                yield from _keys(before, after)
            elif before != after:
                yield key.name
