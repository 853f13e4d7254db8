"""The settings of WebSockets, which the configuration has under ``server``."""

from attrs import frozen

from .. import settings


@frozen(kw_only=True)
class WebSocketSettings:
    """The bounds of relayed WebSockets. Times are in seconds. Raises `InvalidSetting`."""

    max_age: float = settings.seconds(3600.0)
    """The age at which a connection takes no further request, and is closed once nothing is under way."""
    idle_timeout: float = settings.seconds(3600.0)
    """The time without any message after which a connection is closed."""
    per_actor: int = settings.count(16)
    """The most connections of one actor."""
    connections: int = settings.count(5000)
    """The most connections of one process."""
    compression: bool = settings.switch(False)
    """True if messages are compressed where the other side does that too."""
