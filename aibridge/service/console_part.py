"""The console's place on the operator's site: nothing of it is loaded before somebody looks."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from attrs import evolve
from prometheus_client import CollectorRegistry

from ..config.console import console_mode
from ..config.endpoints import OFF, parse_endpoint
from ..config.model import Config
from ..errors import AIBridgeError
from ..metrics import ConsoleMetrics
from ..record.audit import EntryMaker
from ..record.budgets.budget_store import BudgetStore
from .spend_limits import SpendLimitsError, allow_own_pages, refuse_strangers

if TYPE_CHECKING:
    from ..console.pages.site import Report
    from ..console.site import ConsoleSite
    from ..record.rollup_keeper import RollupKeeper


class ConsolePart:
    """Makes the console with the first request for it, and keeps the roll-ups that it stands on."""

    def __init__(self, config: Config, report: "Report", registry: CollectorRegistry, reactor: Any) -> None:
        self._config = config
        self._report = report
        self._registry = registry
        self._metrics: ConsoleMetrics | None = None
        self._reactor = reactor
        self._site: ConsoleSite | None = None
        self._keeper: RollupKeeper | None = None

    def start(self) -> None:
        """Begin to keep the roll-ups, if the operator's site listens."""
        if self._config.server.admin_listen != OFF:
            keeper: type[RollupKeeper] = import_module("aibridge.record.rollup_keeper").RollupKeeper
            days = self._config.console.retention_figures_days
            self._keeper = keeper(self._config.database.url, self._reactor, days)
            self._keeper.start()

    def root(self) -> Any:
        """Return the root of the console's resources; None if there is no console."""
        mode = console_mode(self._config.server.admin_listen, self._config.console)
        if mode is None:
            return None
        if self._site is None:
            self._metrics = self._metrics or ConsoleMetrics(self._registry)
            settings = evolve(self._config.console, auth=mode)
            make: type[ConsoleSite] = import_module("aibridge.console.site").ConsoleSite
            url = self._config.database.url
            budgets = BudgetStore(url, self._config.budget)
            self._site = make(url, settings, budgets, self._report, self._metrics, self._reactor)
        return self._site.root

    async def authorize(self, request: Any, writes: bool) -> EntryMaker:
        """Let a request for budgets pass; see `Authorize`.

        Where visitors of the console are recognised, it must be an administrator's; elsewhere this machine's own.
        """
        if self._config.console.auth not in (None, "none"):
            return await self._authorize_administrator(request, writes)
        endpoint = self._config.server.admin_listen
        is_private = endpoint != OFF and parse_endpoint(endpoint).is_loopback
        return await (allow_own_pages if is_private else refuse_strangers)(request, writes)

    async def _authorize_administrator(self, request: Any, writes: bool) -> EntryMaker:
        self.root()
        problems = import_module("aibridge.console.problems")
        try:
            assert self._site is not None
            visitor = await self._site.access.identify(request)
            if not visitor.may("admin"):
                raise SpendLimitsError(403, "Only administrators of the console may see and set budgets.")
            if writes:
                import_module("aibridge.console.visitors").refuse_foreign_origin(request)
            return visitor.entry
        except SpendLimitsError:
            raise
        except AIBridgeError as error:
            problem = problems.problem_of(error)
            raise SpendLimitsError(problem.status if problem else 500, str(error)) from error

    def reload(self, config: Config) -> None:
        """Let the console have the settings of another configuration from the next request on."""
        if config.console != self._config.console or config.console.jwks_file:
            self._stop_site()
        if self._keeper is not None:
            self._keeper.figures_days = config.console.retention_figures_days
        self._config = config

    async def stop(self) -> None:
        """End the console's threads and connections, if it has any."""
        self._stop_site()
        if self._keeper is not None:
            await self._keeper.stop()

    def _stop_site(self) -> None:
        site, self._site = self._site, None
        if site is not None:
            site.stop()
