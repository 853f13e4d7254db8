"""The whole gateway in memory: client, bridge, upstream and provider on one fake reactor and one clock."""
