"""The settings of traces."""

from urllib.parse import urlsplit

from attrs import frozen

from .. import settings

_PATH = "/v1/traces"


@frozen(kw_only=True)
class TracingSettings:
    """The settings of traces, which OpenTelemetry's packages export: the extra ``aibridge[otel]``."""

    endpoint: str | None = settings.url()
    """The URL of the collector, for OTLP over HTTP; without it, as the environment's ``OTEL_EXPORTER_OTLP_…`` say."""
    sample_ratio: float = settings.ratio(0.1)
    """The share of requests that are traced, among those whose client has not decided that."""
    content: bool = settings.switch(False)
    """True if prompts, and arguments and results of injected tools, are exported too."""

    @property
    def traces_url(self) -> str | None:
        """The URL that spans are sent to; None for that of the environment."""
        if self.endpoint is None or urlsplit(self.endpoint).path.strip("/"):
            return self.endpoint
        return self.endpoint.rstrip("/") + _PATH
