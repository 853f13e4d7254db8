"""The package's build and its dependencies.

The directory ``twisted/`` holds the plugin that makes ``twistd aibridge`` known. Twisted looks for plugins in its own
package ``twisted.plugins``, whose path it extends over every directory ``twisted/plugins`` on ``sys.path``; so the
wheel installs the plugin there. The directory has no ``__init__.py``, and nothing of Twisted's own is replaced. In the
source it is a link to ``twisted_plugins/``. See https://docs.twisted.org/en/stable/core/howto/plugin.html
"""

import re
from pathlib import Path

from setuptools import find_namespace_packages, setup

TEST = ["anthropic", "coverage[toml]", "hypothesis", "openai", "psycopg[binary]", "setuptools>=77"]
TYPES = ["mypy", "mypy-zope"]
LINT = ["ruff"]
DOCS = ["furo", "myst-parser", "sphinx"]

HERE = Path(__file__).parent
[VERSION] = re.findall(r'^__version__ = "(.+)"', (HERE / "aibridge" / "__init__.py").read_text("utf-8"), re.MULTILINE)

setup(
    name="aibridge",
    version=VERSION,
    description="A gateway between AI clients and AI providers that records what went through it, byte-exact.",
    long_description=(HERE / "README.md").read_text("utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    python_requires=">=3.11",
    packages=[*find_namespace_packages(include=["aibridge", "aibridge.*"]), "twisted.plugins"],
    package_dir={"": "."},
    package_data={"aibridge": ["py.typed", "**/*.mako"]},
    zip_safe=False,
    install_requires=[
        "alembic",
        "attrs",
        "httptools",
        "mcp>=2",
        "orjson",
        "prometheus-client",
        "pyjwt[crypto]>=2.10",
        "sqlalchemy>=2",
        "treq",
        "twisted[tls]>=24.10",
        "uvloop; platform_system != 'Windows' and platform_python_implementation == 'CPython'",
        "zstandard",
    ],
    extras_require={
        "postgresql": ["psycopg[binary]"],
        "uvloop": ["uvloop"],
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
