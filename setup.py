"""The package's build and its dependencies.

The directory ``twisted/`` holds the plugin that makes ``twistd aibridge`` known. Twisted looks for plugins in its own
package ``twisted.plugins``, whose path it extends over every directory ``twisted/plugins`` on ``sys.path``; so the
wheel installs the plugin there. The directory has no ``__init__.py``, and nothing of Twisted's own is replaced. In the
source it is a link to ``twisted_plugins/``. See https://docs.twisted.org/en/stable/core/howto/plugin.html
"""

import re
from pathlib import Path

from setuptools import find_namespace_packages, setup

POSTGRESQL = "psycopg[binary]>=3.1.8"
UVLOOP = "uvloop>=0.17"
AWS = "botocore>=1.36"
GOOGLE = ["google-auth>=2.40", "requests>=2.32"]  # google-auth fetches tokens with requests
AZURE = "azure-identity>=1.20"
OTEL = ["opentelemetry-sdk>=1.28", "opentelemetry-exporter-otlp-proto-http>=1.28"]
BROTLI = "brotli>=1.2"  # the first that bounds what a piece unpacks to
TEST = [
    "anthropic[bedrock,vertex]",
    "axe-core-python",
    AWS,
    AZURE,
    *GOOGLE,
    "coverage[toml]>=7.10",  # measures the gateways that tests start as processes
    "html5lib",
    "hypothesis",
    "openai",
    "openapi-spec-validator>=0.9",
    *OTEL,
    POSTGRESQL,
    "pyyaml",
    "selenium",
    "setuptools>=77",
]
TYPES = ["mypy", "mypy-zope", AWS, AZURE, *GOOGLE, *OTEL]  # with the extras that the code imports
LINT = ["ruff"]
DOCS = ["furo", "myst-parser", "sphinx", "sphinx-copybutton"]

SITE = "https://aibridge.example"  # the place of the project's own address, which it has not got yet

HERE = Path(__file__).parent
[VERSION] = re.findall(r'^__version__ = "(.+)"', (HERE / "aibridge" / "__init__.py").read_text("utf-8"), re.MULTILINE)

setup(
    name="aibridge",
    version=VERSION,
    description="A gateway between AI clients and AI providers that records what went through it, byte-exact.",
    long_description=(HERE / "README.md").read_text("utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    project_urls={
        "Documentation": f"{SITE}/manual",
        "Source": f"{SITE}/source",
        "Issues": f"{SITE}/issues",
        "Changelog": f"{SITE}/manual/changelog.html",
    },
    python_requires=">=3.11",
    packages=[*find_namespace_packages(include=["aibridge", "aibridge.*"]), "twisted.plugins"],
    package_dir={"": "."},
    package_data={
        "aibridge": ["py.typed", "**/*.mako", "**/*.sql", "console/pages/templates/*.html", "console/pages/static/*"]
    },
    zip_safe=False,
    install_requires=[
        # Each is the lowest version with which all tests pass: `tox -e lowest`, with lowest.txt.
        "alembic>=1.13",
        "attrs>=23.1",
        "autobahn>=26.10.1",  # the first that bounds what a compressed message unpacks to, and refuses a corrupt one
        "genai-prices>=0.2.3",  # the first with the prices of Anthropic's fast mode
        "httptools>=0.6.3",  # before, a 204 and the answer to a HEAD had no end
        "hyperlink>=21.0",
        "jinja2>=3.1",
        "mcp>=2.3",  # the first that bounds the size of a server's event
        "msgspec>=0.19",
        "orjson>=3.11.6",  # before, deep JSON could overflow the stack
        "prometheus-client>=0.16",
        "pygal>=3.0",
        "pyjwt[crypto]>=2.15",  # before, "crit" was not checked, and odd tokens raised errors of other kinds
        "shtab>=1.9",  # the first for fish
        "sqlalchemy>=2.0.20",
        "treq>=26.7",  # the first with IndexableCookieJar
        "twisted[tls]>=26.4",  # before, TLS fails with the present pyOpenSSL
        f"{UVLOOP}; platform_system != 'Windows' and platform_python_implementation == 'CPython'",
        "zstandard>=0.20",
    ],
    extras_require={
        "postgresql": [POSTGRESQL],
        "uvloop": [UVLOOP],
        "aws": [AWS],
        "google": GOOGLE,
        "azure": [AZURE],
        "brotli": [BROTLI],
        "otel": OTEL,
        "test": TEST,
        "types": TYPES,
        "lint": LINT,
        "docs": DOCS,
        "dev": [*TEST, *TYPES, *LINT, *DOCS, "tox"],
    },
    entry_points={"console_scripts": ["aibridge=aibridge.cli:main"]},
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Framework :: Twisted",
        "Operating System :: POSIX",
        "Programming Language :: Python :: 3 :: Only",
        "Typing :: Typed",
    ],
)
