"""The options of ``aibridge run``, which are those of ``twistd aibridge``, for both parsers."""

RUN_OPTIONS = {
    "config": "TOML file with the configuration. [default: the one that AIBRIDGE_CONFIG names]",
    "listen": "Endpoint of the gateway. [default: tcp:8080:interface=127.0.0.1]",
    "admin-listen": "Endpoint of the operator's site, or off. [default: tcp:8081:interface=127.0.0.1]",
    "database": "SQLAlchemy URL of the records. [default: sqlite:///aibridge.sqlite]",
    "workers": "Number of processes that share the port. [default: 1]",
    "log-format": "Format of the log's lines, text or json. [default: text]",
}
"""The help of each option that takes a value."""

RUN_FLAGS = {
    "demo": "Answer with a built-in fake provider, and record in aibridge-demo.sqlite: no key is needed.",
}
"""The help of each option without a value."""

RUN_EXAMPLES = ("--demo", "--config aibridge.toml", "--config aibridge.toml --listen 9090 --log-format json")
"""The arguments of the examples in the help."""
