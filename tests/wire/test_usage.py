"""Token figures: what is counted, and what is not taken for a count."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from aibridge.wire.usage import (
    Iteration,
    TokenCounts,
    anthropic_token_counts,
    merge_usage,
    openai_token_counts,
    sum_usage,
    xai_token_counts,
)

NO_COUNTS = (None, True, False, 1.5, 1e300, float("nan"), float("inf"), -1, 2**63, "7", [7], {}, {"x": "y"})

_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=12,
)
_names = st.sampled_from(
    ["input_tokens", "prompt_tokens", "output_tokens", "prompt_tokens_details", "cached_tokens", "input_tokens_details"]
)
_usages = st.dictionaries(_names | st.text(max_size=4), _json | st.dictionaries(_names, _json, max_size=2), max_size=6)


class AnthropicFiguresTests(SynchronousTestCase):
    """Anthropic tells cached tokens apart already."""

    def test_all(self):
        """The four figures, and every other counter by its own name, nested ones too."""
        usage = {
            "input_tokens": 1,
            "output_tokens": 2,
            "cache_read_input_tokens": 3,
            "cache_creation_input_tokens": 4,
            "cache_creation": {"ephemeral_5m_input_tokens": 5, "ephemeral_1h_input_tokens": 6},
            "server_tool_use": {"web_search_requests": 7, "more": {"deep": 8}},
        }
        others = {"ephemeral_5m_input_tokens": 5, "ephemeral_1h_input_tokens": 6, "web_search_requests": 7, "deep": 8}
        self.assertEqual(anthropic_token_counts(usage), TokenCounts(1, 2, 3, 4, others))

    def test_no_counts(self):
        """Booleans, fractions, negative and huge numbers, strings and the like are no figures."""
        for value in NO_COUNTS:
            usage = dict.fromkeys(("input_tokens", "output_tokens", "cache_read_input_tokens", "other"), value)
            self.assertEqual(anthropic_token_counts(usage), TokenCounts(), value)

    def test_largest(self):
        """A number is counted exactly, unless it is so large that the database had no room for a sum of some."""
        for number in (2**53 + 1, 10**16):
            self.assertEqual(anthropic_token_counts({"input_tokens": number}).input, number)
        for number in (10**16 + 1, 2**63 - 1):
            self.assertEqual(anthropic_token_counts({"input_tokens": number}).input, 0)

    def test_name_within_a_group(self):
        """A counter in a group that is called like a main one is another counter, and kept."""
        self.assertEqual(anthropic_token_counts({"server_tool_use": {"input_tokens": 5}}).others, {"input_tokens": 5})

    def test_words(self):
        """The tier, the speed and the place of the answer are its own words."""
        usage = {"service_tier": "priority", "speed": "fast", "inference_geo": "us", "output_tokens": 1}
        words = {"service_tier": "priority", "speed": "fast", "inference_geo": "us"}
        self.assertEqual(anthropic_token_counts(usage), TokenCounts(output=1, words=words))
        odd = {"service_tier": None, "speed": "", "inference_geo": 7.5}
        self.assertEqual(anthropic_token_counts(odd), TokenCounts())

    def test_iterations(self):
        """Steps that the figures leave out are billed beside them, at their own model; the list is kept."""
        iterations = [
            {"type": "message", "input_tokens": 10, "output_tokens": 5},
            {"type": "compaction", "input_tokens": 900, "output_tokens": 30},
            {"type": "advisor_message", "model": "claude-opus-5-5", "input_tokens": 7, "cache_read_input_tokens": 3},
            {"type": "fallback_message", "model": "claude-haiku-5", "output_tokens": 2, "iterations": [{}]},
            {"type": ["compaction"]},
            "compaction",
        ]
        counts = anthropic_token_counts({"input_tokens": 10, "output_tokens": 5, "iterations": iterations})
        beside = [
            Iteration("compaction", None, TokenCounts(900, 30)),
            Iteration("advisor_message", "claude-opus-5-5", TokenCounts(7, 0, 3)),
            Iteration("fallback_message", "claude-haiku-5", TokenCounts(output=2)),
        ]
        expected = TokenCounts(10, 5, details={"iterations": iterations}, beside=beside)
        self.assertEqual(counts, expected)


class OpenAIFiguresTests(SynchronousTestCase):
    """OpenAI counts cached tokens among the input's."""

    def test_chat(self):
        """Cached tokens are taken out of the prompt's; the same name in two groups is told apart by its path."""
        usage = {
            "prompt_tokens": 100,
            "completion_tokens": 20,
            "total_tokens": 120,
            "prompt_tokens_details": {"cached_tokens": 60, "audio_tokens": 1},
            "completion_tokens_details": {"reasoning_tokens": 8, "audio_tokens": 2},
        }
        others = {
            "total_tokens": 120,
            "reasoning_tokens": 8,
            "prompt_tokens_details.audio_tokens": 1,
            "completion_tokens_details.audio_tokens": 2,
        }
        self.assertEqual(openai_token_counts(usage), TokenCounts(40, 20, 60, 0, others))

    def test_responses(self):
        """The Responses API's names are counted like those of Chat Completions."""
        usage = {
            "input_tokens": 100,
            "input_tokens_details": {"cached_tokens": 60},
            "output_tokens": 20,
            "output_tokens_details": {"reasoning_tokens": 8},
        }
        self.assertEqual(openai_token_counts(usage), TokenCounts(40, 20, 60, 0, {"reasoning_tokens": 8}))

    def test_more_cached_than_read(self):
        """Figures that contradict each other give no negative one."""
        usage = {"prompt_tokens": 1, "prompt_tokens_details": {"cached_tokens": 5}}
        self.assertEqual(openai_token_counts(usage), TokenCounts(0, 0, 5, 0, {}))

    def test_no_counts(self):
        """Only whole numbers in range are counts; details may be null."""
        for value in NO_COUNTS:
            usage = {"prompt_tokens": value, "prompt_tokens_details": {"cached_tokens": value}, "x": value}
            self.assertEqual(openai_token_counts(usage), TokenCounts(), value)
            self.assertEqual(openai_token_counts({"prompt_tokens": 3, "prompt_tokens_details": None}).input, 3)

    def test_foreign_cached_tokens(self):
        """A counter of that name elsewhere is recorded as it stands."""
        self.assertEqual(openai_token_counts({"x": {"cached_tokens": 4}}).others, {"cached_tokens": 4})

    def test_other_names_of_cached_tokens(self):
        """DeepSeek and Moonshot have names of their own, which may stand beside OpenAI's."""
        for cached in (
            {"prompt_cache_hit_tokens": 64, "prompt_tokens_details": {"cached_tokens": 64}},
            {"prompt_cache_hit_tokens": 64},
            {"cached_tokens": 64},
            {"cached_tokens": 64, "prompt_tokens_details": {"cached_tokens": 0}},
            {"prompt_tokens_details": None, "input_tokens_details": {"cached_tokens": 64}},
        ):
            self.assertEqual(openai_token_counts({"prompt_tokens": 100, **cached}), TokenCounts(36, 0, 64), cached)
        misses = {"prompt_tokens": 9, "prompt_cache_hit_tokens": 4, "prompt_cache_miss_tokens": 5}
        self.assertEqual(openai_token_counts(misses), TokenCounts(5, 0, 4, 0, {"prompt_cache_miss_tokens": 5}))

    def test_cache_writes(self):
        """Tokens that were written to the cache are told apart from the input, as with Anthropic."""
        details = {
            "cached_tokens": 600,
            "cache_write_tokens": 300,
            "cache_write_tokens_details": {"ttl_30m_tokens": 100, "ttl_12h_tokens": 200},
        }
        others = {"ttl_30m_tokens": 100, "ttl_12h_tokens": 200}
        for names in (("input_tokens", "input_tokens_details"), ("prompt_tokens", "prompt_tokens_details")):
            usage = dict(zip(names, (1000, details), strict=True))
            self.assertEqual(openai_token_counts(usage), TokenCounts(100, 0, 600, 300, others))

    def test_xai(self):
        """xAI's tokens of reasoning are output that ``completion_tokens`` leaves out."""
        usage = {
            "prompt_tokens": 32,
            "completion_tokens": 9,
            "total_tokens": 135,
            "prompt_tokens_details": {"cached_tokens": 6},
            "completion_tokens_details": {"reasoning_tokens": 94},
        }
        others = {"total_tokens": 135, "reasoning_tokens": 94}
        self.assertEqual(xai_token_counts(usage), TokenCounts(26, 103, 6, 0, others))
        self.assertEqual(xai_token_counts({"completion_tokens": 9}), TokenCounts(output=9))
        self.assertEqual(xai_token_counts({"completion_tokens_details": {"reasoning_tokens": "x"}}), TokenCounts())


class AnyFiguresTests(SynchronousTestCase):
    """Whatever a provider sends for usage."""

    def test_whole_floats(self):
        """A whole number may be written with a point."""
        self.assertEqual(anthropic_token_counts({"input_tokens": 100.0, "x": 2.0}), TokenCounts(100, others={"x": 2}))
        self.assertEqual(openai_token_counts({"prompt_tokens": 100.0}), TokenCounts(100))
        self.assertIs(type(openai_token_counts({"prompt_tokens": 100.0}).input), int)

    def test_cost(self):
        """A cost is no counter; it is kept as the provider states it."""
        for cost, details in ((0.00123, {"provider_cost": 0.00123}), (2, {"provider_cost": 2}), ("2", {}), (None, {})):
            usage = {"cost": cost, "cost_details": {"upstream_inference_cost": 19}, "is_byok": False}
            for count in (anthropic_token_counts, openai_token_counts):
                self.assertEqual(count(usage), TokenCounts(details=details))

    @given(_usages)
    def test_are_figures(self, usage):
        """Only whole numbers that a database holds come out, and nothing goes wrong."""
        for figures in (anthropic_token_counts(usage), openai_token_counts(usage)):
            counts = (figures.input, figures.output, figures.cache_read, figures.cache_write, *figures.others.values())
            self.assertTrue(all(type(count) is int and 0 <= count < 2**63 for count in counts))

    def test_deep(self):
        """Nesting as deep as a parser lets through is no trouble."""
        usage = {"deepest": 1}
        for _ in range(1020):
            usage = {"x": usage}
        self.assertEqual(anthropic_token_counts(usage).others, {"deepest": 1})


class MergingTests(SynchronousTestCase):
    """Several usage objects of one answer, or of several."""

    def merged(self, *usages):
        usage = {}
        for later in usages:
            merge_usage(usage, later)
        return usage

    def test_later(self):
        """A later counter replaces the earlier one; an absent one keeps its value."""
        self.assertEqual(self.merged({"a": 1, "b": 2}, {"a": 5, "c": None}), {"a": 5, "b": 2})

    def test_zeros(self):
        """A zero does not replace a figure, nested ones neither; it stands where there is none."""
        start = {"input_tokens": 10, "cache_creation": {"ephemeral_1h_input_tokens": 4, "x": 0}, "output_tokens": 0}
        end = {"input_tokens": 0, "cache_creation": {"ephemeral_1h_input_tokens": 0, "x": 3}, "output_tokens": 0.0}
        expected = {"input_tokens": 10, "cache_creation": {"ephemeral_1h_input_tokens": 4, "x": 3}, "output_tokens": 0}
        self.assertEqual(self.merged(start, end), expected)
        self.assertEqual(self.merged({}, {"n": 0}), {"n": 0})

    def test_untouched(self):
        """What is merged is not changed."""
        start = {"group": {"a": 1}}
        self.assertEqual((self.merged(start, {"group": {"a": 2}}), start), ({"group": {"a": 2}}, {"group": {"a": 1}}))

    def test_sum(self):
        """Over several rounds numbers are added and lists are joined."""
        first = {"a": 1, "cost": 0.25, "steps": [1], "group": {"b": 1}, "tier": "x"}
        second = {"a": 2, "cost": 0.5, "steps": [2], "group": {"b": 2}, "tier": "y", "none": None}
        expected = {"a": 3, "cost": 0.75, "steps": [1, 2], "group": {"b": 3}, "tier": "y", "none": None}
        self.assertEqual(sum_usage([first, second]), expected)

    @given(_usages, _usages)
    def test_anything(self, first, second):
        """Whatever a provider sends can be merged and counted."""
        usage = self.merged(first, second)
        for count in (anthropic_token_counts, openai_token_counts, xai_token_counts):
            count(usage)
