"""Token figures: what is counted, and what is not taken for a count."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from aibridge.wire.usage import TokenCounts, anthropic_token_counts, openai_token_counts

NO_COUNTS = (None, True, False, 1.0, 1e300, -1, 2**63, "7", [7], {}, {"x": "y"})

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
            "service_tier": "standard",
        }
        others = {"ephemeral_5m_input_tokens": 5, "ephemeral_1h_input_tokens": 6, "web_search_requests": 7, "deep": 8}
        self.assertEqual(anthropic_token_counts(usage), TokenCounts(1, 2, 3, 4, others))

    def test_no_counts(self):
        """Booleans, fractions, negative and huge numbers, strings and the like are no figures."""
        for value in NO_COUNTS:
            usage = dict.fromkeys(("input_tokens", "output_tokens", "cache_read_input_tokens", "other"), value)
            self.assertEqual(anthropic_token_counts(usage), TokenCounts(), value)

    def test_largest(self):
        """The largest number that the database can store is counted."""
        self.assertEqual(anthropic_token_counts({"input_tokens": 2**63 - 1}).input, 2**63 - 1)

    def test_name_within_a_group(self):
        """A counter in a group that is called like a main one is another counter, and kept."""
        self.assertEqual(anthropic_token_counts({"server_tool_use": {"input_tokens": 5}}).others, {"input_tokens": 5})


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
        self.assertEqual(openai_token_counts({"cached_tokens": 4}).others, {"cached_tokens": 4})


class AnyFiguresTests(SynchronousTestCase):
    """Whatever a provider sends for usage."""

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
