"""The table ``[budget]`` of the configuration."""

from collections.abc import Mapping

from attrs import frozen

from .. import settings
from ..record.budgets.settings import BudgetSettings
from .sources import ConfigSources, keys_of


@frozen(kw_only=True)
class WebhookSecretSource:
    """The source of the webhook's secret, if that is not the file itself."""

    webhook_secret_env: str | None = settings.text()
    webhook_secret_file: str | None = settings.text()


_ELSEWHERE = keys_of(WebhookSecretSource)


def read_budget(sources: ConfigSources, secret: tuple[Mapping[str, str], str]) -> BudgetSettings:
    """Return the settings of budgets. Raise ConfigError for a wrong one, or for a webhook without a secret.

    :param secret: the webhook's secret, if it is not in the table itself, and the variable that was to hold it.
    """
    path, (found, variable) = ("budget",), secret
    table = sources.in_file(path, [*keys_of(BudgetSettings), *_ELSEWHERE])
    values = {key: value for key, value in table.items() if key not in _ELSEWHERE}
    budget = sources.make(BudgetSettings, path, {**values, **found})
    if budget.webhook is not None and budget.webhook_secret is None:
        why = f"the variable {variable} is not set" if variable else "missing; budget.webhook requires it"
        raise sources.error((*path, "webhook_secret"), why)
    return budget
