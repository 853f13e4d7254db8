"""The tables ``[prices]`` and ``[prices.models.PATTERN]`` of the configuration."""

from collections.abc import Collection
from pathlib import Path

from attrs import evolve

from ..costs.settings import OwnPrices, PriceSettings
from .sources import ConfigSources, keys_of

_PATH = ("prices",)
_OWN_KEYS = [key.rstrip("_") for key in keys_of(OwnPrices)]


def read_prices(sources: ConfigSources, providers: Collection[str]) -> PriceSettings:
    """Return the settings of prices. Raise ConfigError for a wrong setting, or the name of no configured provider."""
    table = sources.in_file(_PATH, keys_of(PriceSettings))
    values = {key: value for key, value in table.items() if key != "models"}
    sources.in_file((*_PATH, "providers"), providers)
    for words in sources.in_file((*_PATH, "factors")):
        if ":" in words and words.partition(":")[0] not in providers:
            raise sources.error((*_PATH, "factors", words), "does not begin with the name of a configured provider")
    models = {pattern: _own_prices(sources, pattern, providers) for pattern in sources.in_file((*_PATH, "models"))}
    settings = sources.make(PriceSettings, _PATH, values | {"models": models})
    # A file is named relative to that of the configuration.
    return evolve(settings, file=settings.file and str(Path(sources.source).parent / settings.file))


def _own_prices(sources: ConfigSources, pattern: str, providers: Collection[str]) -> OwnPrices:
    path = (*_PATH, "models", pattern)
    table = sources.in_file(path, _OWN_KEYS)
    for key in ("input", "output"):
        if key not in table:
            raise sources.error((*path, key), "missing; a model has prices of both input and output")
    own = sources.make(OwnPrices, path, {"from_" if key == "from" else key: value for key, value in table.items()})
    if own.provider not in (None, *providers):
        raise sources.error((*path, "provider"), "is not the name of a configured provider")
    return own
