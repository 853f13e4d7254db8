"""Prices from settings: the table is read, and the providers' names in it are found."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from ..errors import ConfigError
from .calculator import Prices
from .files import read_price_file
from .genai import GenAIPrices
from .hosts import table_names
from .prices import PriceTable
from .settings import OFF, PriceSettings


def load_prices(
    settings: PriceSettings, base_urls: Mapping[str, str], types: Mapping[str, str] = MappingProxyType({})
) -> Prices | None:
    """Return the prices of the providers with these names and URLs; None if nothing is to be priced.

    `types` has the types of providers by their names, which tell the clouds. Takes up to a second, and blocks. Raise
    ConfigError if the file can't be read or is no table of prices.
    """
    if settings.source == OFF and settings.file is None:
        return None
    names = {
        provider: (settings.providers[provider],)
        if provider in settings.providers
        else table_names(url, types.get(provider, ""))
        for provider, url in base_urls.items()
    }
    return Prices(_table(settings), names, settings.models, settings.factors, settings.header)


def check_price_file(settings: PriceSettings) -> None:
    """Raise ConfigError if there is a file of prices that can't be used."""
    if settings.file is not None:
        _table(settings)


def _table(settings: PriceSettings) -> PriceTable:
    if settings.file is None:
        return GenAIPrices()
    try:
        return read_price_file(Path(settings.file).read_bytes())
    except OSError as error:
        raise ConfigError(settings.file, "", f"can't be read: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(settings.file, "", str(error)) from error
