"""``aibridge cost show``."""

import json

from ..costs.tables import LITELLM
from .parts import CommandTestCase


class CostTests(CommandTestCase):
    """The prices of a model, as they are printed."""

    def write_config(self, content: str) -> str:
        """Write a configuration file. Return its path."""
        return str(self.write("aibridge.toml", content))

    def test_cost(self) -> None:
        """It shows a model's prices by tier and threshold, and their source."""
        status, out, err = self.run_command("cost", "show", "gpt-6-sol")
        self.assertEqual((status, err), (0, ""))
        first, headings, *lines = out.splitlines()
        self.assertRegex(first, r"^gpt-6-sol of openai: gpt-6-sol of openai in genai-prices \d")
        self.assertEqual(headings.split("  ")[0], "TIER")
        for line in (
            "standard               up to 272,000   2.00   10.00        0.20         2.50           -    0.01",
            "service_tier=priority  over 272,000    8.00   30.00        0.80        10.00           -    0.01",
        ):
            self.assertIn(line, lines)

    def test_cost_by_own_prices(self) -> None:
        """Own prices are shown for each provider that they are for; factors too, and that hours matter."""
        file = self.write_config("""
            [prices.models."llama*"]
            input = 0.125
            output = 1
            [providers.deepseek]
            type = "openai"
            base_url = "https://api.deepseek.com"
            [providers.mine]
            type = "openai"
            base_url = "http://localhost:1/v1"
        """)
        status, out, err = self.run_command("cost", "show", "llama-4", "--config", file, "--provider", "mine")
        self.assertEqual((status, err), (0, ""))
        lines = out.splitlines()
        self.assertRegex(lines[0], r"^llama-4 of mine: llama\* of your own in genai-prices .*\+[0-9a-f]{8}$")
        self.assertEqual(
            lines[2].split(), ["standard", "any", "number", "0.125", "1.00", "0.125", "0.125", "0.125", "-"]
        )
        out = self.run_command("cost", "show", "deepseek-chat", "--config", file)[1]
        self.assertIn("Prices depend on the hour", out)
        self.write("prices.json", json.dumps(LITELLM))
        file = self.write_config('[prices]\nfile = "prices.json"')
        out = self.run_command("cost", "show", "claude-opus-5-5", "--config", file)[1]
        self.assertIn("speed=fast: prices of tokens are multiplied by 2.\n", out)

    def test_cost_unknown(self) -> None:
        """A model or provider without prices is an error that says what to set."""
        off = self.write_config('[prices]\nsource = "off"')
        for arguments, why in (
            (("nobody",), "no price of nobody is known for anthropic or openai"),
            (("gpt-6-sol", "--provider", "x"), "no provider x is configured"),
            (("gpt-6-sol", "--config", off), "prices.source is off"),
        ):
            status, out, err = self.run_command("cost", "show", *arguments)
            self.assertEqual((status, out), (1, ""))
            self.assertIn(why, err)
