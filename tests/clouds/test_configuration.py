"""Clouds in the configuration."""

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from aibridge.config.loader import configure
from aibridge.config.sources import ConfigSources
from aibridge.errors import ConfigError
from aibridge.providers import cloud
from aibridge.providers.base import Provider
from aibridge.providers.bedrock import BedrockProvider


def read(table: dict[str, Any], environ: dict[str, str] | None = None) -> Provider:
    """The one provider of a file."""
    [provider] = configure(ConfigSources({"providers": {"aws": table}}, "x.toml", environ or {})).providers.values()
    return provider


class ConfigurationTests(SynchronousTestCase):
    """What the file and the environment say of clouds."""

    def refused(self, table: dict[str, Any], **environ: str) -> str:
        """The message about a setting that can't be used."""
        return str(self.assertRaises(ConfigError, read, table, environ))

    def test_example(self) -> None:
        """The tables of a provider become its settings."""
        provider = read(
            {
                "type": "bedrock",
                "region": "eu-central-1",
                "auth": "sigv4",
                "profile": "",
                "role_arn": "",
                "external_id": "",
                "models": {"^claude-(opus|sonnet|haiku)-(.*)$": "eu.anthropic.claude-{1}-{2}"},
                "refused": {
                    "betas": ["oauth-2025-04-20", "prompt-caching-scope-*"],
                    "fields": ["metadata"],
                    "learn": True,
                },
            }
        )
        assert isinstance(provider, BedrockProvider) and provider.refused is not None
        self.assertEqual(provider.base_url, "https://bedrock-runtime.eu-central-1.amazonaws.com/anthropic")
        self.assertEqual(provider.refused.betas, ("oauth-2025-04-20", "prompt-caching-scope-*"))
        self.assertEqual(provider.model_name("claude-opus-4-6"), "eu.anthropic.claude-opus-4-6")

    def test_doors(self) -> None:
        """Each door has its base URL, also in other partitions of AWS."""
        for changes, url in (
            ({"api": "mantle"}, "https://bedrock-mantle.eu-central-1.api.aws/anthropic"),
            ({"api": "invoke"}, "https://bedrock-runtime.eu-central-1.amazonaws.com"),
            ({"region": "cn-north-1"}, "https://bedrock-runtime.cn-north-1.amazonaws.com.cn/anthropic"),
            ({"region": "eusc-de-east-1"}, "https://bedrock-runtime.eusc-de-east-1.amazonaws.eu/anthropic"),
        ):
            self.assertEqual(read({"type": "bedrock", "region": "eu-central-1", **changes}).base_url, url)

    def test_environment(self) -> None:
        """What the vendors' SDKs find in variables is found there, too; the file comes first."""
        environ = {"AWS_REGION": "us-east-1", "AWS_DEFAULT_REGION": "us-west-2", "GOOGLE_CLOUD_PROJECT": "proj-1"}
        self.assertEqual(read({"type": "bedrock"}, environ).region, "us-east-1")  # type: ignore[attr-defined]
        self.assertEqual(read({"type": "bedrock", "region": "eu-west-1"}, environ).region, "eu-west-1")  # type: ignore[attr-defined]
        self.assertEqual(read({"type": "vertex"}, environ).project, "proj-1")  # type: ignore[attr-defined]
        environ = {"ANTHROPIC_FOUNDRY_RESOURCE": "mine"}
        self.assertEqual(read({"type": "foundry"}, environ).base_url, "https://mine.services.ai.azure.com/anthropic")

    def test_wrong(self) -> None:
        """A setting that can't be used is named, with its key."""
        aws = {"type": "bedrock", "region": "eu-central-1"}
        self.assertIn("x.toml: providers.aws.region: must be a region of AWS", self.refused({"type": "bedrock"}))
        self.assertIn("environment: AWS_REGION: must be a region", self.refused({"type": "bedrock"}, AWS_REGION="x"))
        self.assertIn("providers.aws.api: must be", self.refused({**aws, "api": "converse"}))
        self.assertIn("providers.aws.external_id: is used for a role only", self.refused({**aws, "external_id": "x"}))
        self.assertIn("providers.aws.project: must be the id", self.refused({"type": "vertex"}))
        self.assertIn(
            "providers.aws.region: must be a region", self.refused({"type": "vertex", "project": "p", "region": "a/b"})
        )
        self.assertIn(
            "providers.aws.models: '(' must be a regular expression", self.refused({**aws, "models": {"(": "x"}})
        )
        self.assertIn("names a group", self.refused({**aws, "models": {"(a)": "{2}"}}))
        self.assertIn("providers.aws.refused.learn: must be", self.refused({**aws, "refused": {"learn": "yes"}}))
        self.assertIn("nearest known name is betas", self.refused({**aws, "refused": {"beta": []}}))
        self.assertIn("nearest known name is region", self.refused({**aws, "regions": "x"}))

    def test_missing_package(self) -> None:
        """A package that is missing ends the start, with the way to install it; it is not needed everywhere."""
        self.patch(cloud, "find_spec", lambda module: None)
        for table, extra in (
            ({"type": "bedrock", "region": "eu-central-1"}, "aws"),
            ({"type": "vertex", "project": "p"}, "google"),
            ({"type": "foundry", "resource": "r", "auth": "entra"}, "azure"),
            ({"type": "azure", "resource": "r", "auth": "entra"}, "azure"),
        ):
            message = self.refused(table)
            self.assertIn("providers.aws.type: ", message)
            self.assertIn(f'pip install "aibridge[{extra}]"', message)
        for table in (
            {"type": "bedrock", "region": "eu-central-1", "auth": "bearer"},
            {"type": "foundry", "resource": "r"},
            {"type": "azure", "resource": "r"},
        ):
            read(table)
