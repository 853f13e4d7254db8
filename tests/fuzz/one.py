"""One target in this process: ``python -m tests.fuzz.one TARGET [option of libFuzzer …]``."""

import sys

import atheris

atheris.enabled_hooks.add("str")
with atheris.instrument_imports(include=["aibridge", "tests.fuzz", "twisted.web", "tomllib"]):
    from .targets import TARGETS

atheris.Setup([sys.argv[0], *sys.argv[2:]], TARGETS[sys.argv[1]])
atheris.Fuzz()
