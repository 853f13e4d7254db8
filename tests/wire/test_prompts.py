"""The user's own words, in requests of every API."""

from twisted.trial.unittest import SynchronousTestCase

from aibridge.wire.chat.reader import CHAT
from aibridge.wire.messages.reader import MESSAGES
from aibridge.wire.responses.reader import RESPONSES

REMINDER = "<system-reminder>\nToday is Monday.\n</system-reminder>"
DETAILS = "<environment_details>\n# Current Time\n12:00\n</environment_details>"
DATETIME = "<current_datetime>2026-11-28T18:00:00Z</current_datetime>"
SYSTEM = "<system>Using workspace at /tmp</system>"
ENVIRONMENT = "<environment_context>\n  <cwd>/tmp</cwd>\n</environment_context>"


def user(*parts, kind="text"):
    """A user's message of these texts; what is no text stays."""
    return {
        "role": "user",
        "content": [{"type": kind, "text": part} if isinstance(part, str) else part for part in parts],
    }


def said(text):
    return {"role": "assistant", "content": text}


class ChatLikePromptTests(SynchronousTestCase):
    """Messages and chat, whose requests are alike in this."""

    def check(self, messages, prompt):
        for wire_format in (MESSAGES, CHAT):
            self.assertEqual(wire_format.last_turn({"messages": messages}).prompt, prompt, (wire_format.name, messages))

    def test_last_text(self):
        """The prompt is the last text of the last message, if that is the user's."""
        self.check([{"role": "user", "content": "hi"}], "hi")
        self.check([user("one", "two")], "two")
        self.check([user("one"), said("hm"), user("two")], "two")
        self.check([user("look", {"type": "image", "source": {}})], "look")

    def test_the_models_turn(self):
        """A conversation whose last word is the model's has none."""
        self.check([user("one"), said("hm")], None)
        self.check([], None)

    def test_instructions_behind_it(self):
        """Instructions of the system or developer after the user's message are skipped."""
        for role in ("system", "developer"):
            self.check([user("hi"), {"role": role, "content": [{"type": "text", "text": "be kind"}]}], "hi")
            self.check([user("hi"), {"role": role, "content": "be kind"}], "hi")
        self.check([{"role": "system", "content": "be kind"}], None)

    def test_client_context(self):
        """Blocks that a client wrapped whole are looked past, wherever they stand; two in a block too."""
        for context in (
            REMINDER,
            ENVIRONMENT,
            f"\n {REMINDER}\n",
            f"{REMINDER}\n{REMINDER}",
            f"{REMINDER}{ENVIRONMENT}",
        ):
            self.check([user(context, "hi")], "hi")
            self.check([user("hi", context)], "hi")
            self.check([user("hi"), user(context)], "hi")
            self.check([said("hm"), user(context)], None)

    def test_words_beside_context(self):
        """A block that holds more than such wrapping is the user's, all of it."""
        for prompt in (
            f"{REMINDER} and now?",
            f"see {REMINDER}",
            f"{REMINDER} between {REMINDER}",
            "<system-reminder> is a tag",
            "<system-reminder>open</environment_context>",
            "<system-reminders>x</system-reminders>",
        ):
            self.check([user(prompt)], prompt)

    def test_words_around_the_users_own(self):
        """What clients put around the user's words, in blocks of their own or in the same text, is not recorded."""
        task = "<task>\nfix it\n</task>"
        for blocks in (
            (task,),
            (task, DETAILS),  # Cline, Roo Code and Kilo Code
            (f"{task}\n\n{DETAILS}",),
            ("fix it", DETAILS),
            (f"fix it\n{DETAILS}",),
            (f"{DATETIME}\n\nfix it",),  # Copilot's CLI
            (DATETIME, "fix it"),
            (f"{SYSTEM}\nfix it",),  # gptme
            (f"{SYSTEM}{SYSTEM}\n\nfix it\n{SYSTEM}",),
            ("fix it", SYSTEM),
            (REMINDER, f"{DATETIME}\n\n{task}\n{DETAILS}"),
        ):
            self.check([user(*blocks)], "fix it")
            self.check([user("earlier"), said("hm"), user(*blocks)], "fix it")
        self.check([{"role": "user", "content": f"{task}\n{DETAILS}"}], "fix it")
        self.check([user("fix it"), user(SYSTEM)], "fix it")

    def test_nothing_but_context(self):
        """Such context beside tool results, or alone, is no prompt."""
        result = {"type": "tool_result", "tool_use_id": "t", "content": "42"}
        self.check([user("first"), said("hm"), user(result, DETAILS)], None)
        self.check([user("first"), said("hm"), user(DETAILS)], None)
        self.check([user(f"{DATETIME}\n{REMINDER}")], None)
        self.check([user("<task>\n</task>")], None)

    def test_the_users_own_tags(self):
        """Tags that the user wrote between other words stay, and blank space at the ends does too."""
        for prompt in (
            "<task>one</task> and <task>two</task>",
            "what is <task>x</task>?",
            f"see {DATETIME} here",
            "<environment_details> is a tag",
            "is </environment_details>",
            "<p>hi</p>",
            "  hi\n",
        ):
            self.check([user(prompt)], prompt)

    def test_tool_results(self):
        """A turn that only carries tool results has none, with a reminder beside them neither; with words it has."""
        result = {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": "42"}]}
        self.check([user("first"), said("hm"), user(result)], None)
        self.check([user("first"), said("hm"), user(result, REMINDER)], None)
        self.check([user("first"), said("hm"), user(result, "stop that")], "stop that")
        self.check([user("first"), said("hm"), {"role": "tool", "tool_call_id": "c", "content": "42"}], None)

    def test_nothing_said(self):
        """Blank text is no prompt."""
        self.check([user("", " \n")], None)
        self.check([{"role": "user", "content": ""}], None)

    def test_not_what_it_should_be(self):
        """Requests of any shape are no trouble: the provider will say what is wrong with them."""
        for content in (None, 7, {}, ["text"], [None], [{"type": "text"}], [{"type": "text", "text": 7}], [[]]):
            self.check([{"role": "user", "content": content}], None)
        for messages in (None, 7, "hi", {}, [7], [[]], [{}], [{"role": []}], [{"role": {}, "content": []}]):
            self.check(messages, None)

    def test_one_walk(self):
        """The messages are walked once, from their end, and only as far as the prompt and the tool result need it."""
        walked = []

        class Messages(list):
            def __reversed__(self):
                walked.append("walk")
                for message in super().__reversed__():
                    walked.append(message["role"])
                    yield message

        result = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t"}]}
        turn = MESSAGES.last_turn({"messages": Messages([user("first"), said("hm"), result, said("so"), user("hi")])})
        self.assertEqual((turn.prompt, turn.tool_result_id), ("hi", "t"))
        self.assertEqual(walked, ["walk", "user", "assistant", "user"])

    def test_many_open_tags(self):
        """A text that is all opening tags takes no longer than its length."""
        for prompt in ("<system-reminder>" * 50_000, "<system>" * 50_000, "x" + "</system>" * 50_000):
            self.check([user(prompt)], prompt)
        self.check([user("<system></system>" * 50_000 + "x")], "x")


class ResponsesPromptTests(SynchronousTestCase):
    """The input of a response: a string, or items."""

    def check(self, given, prompt):
        self.assertEqual(RESPONSES.last_turn({"input": given}).prompt, prompt, given)

    def test_string(self):
        """A string is the prompt."""
        self.check("hi", "hi")
        self.check("", None)
        self.check(f"{DATETIME}\n\nhi", "hi")
        self.check(DETAILS, None)

    def test_parts_joined(self):
        """All parts of the last message's input text, a line each; an item without a type is a message."""
        self.check([user("one", "two", kind="input_text") | {"type": "message"}], "one\ntwo")
        self.check([user("one", {"type": "input_image", "image_url": "x"}, "two", kind="input_text")], "one\ntwo")
        self.check([{"role": "user", "content": "hi"}], "hi")

    def test_words_around_the_users_own(self):
        """What clients put around the user's words is left out of each part."""
        self.check([user("<task>\nfix it\n</task>", DETAILS, kind="input_text")], "fix it")
        self.check([user(f"{DATETIME}\n\none", "two", kind="input_text")], "one\ntwo")

    def test_context_and_instructions(self):
        """A client's context and developers' messages are looked past."""
        context = user(ENVIRONMENT, kind="input_text")
        developer = {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "be kind"}]}
        self.check([developer, context, user("hi", kind="input_text")], "hi")
        self.check([user("hi", kind="input_text"), developer, context], "hi")
        self.check([user(ENVIRONMENT, "hi", kind="input_text")], "hi")

    def test_tool_outputs(self):
        """A turn that carries a call's output has none."""
        output = {"type": "function_call_output", "call_id": "c", "output": "42"}
        self.check([user("hi", kind="input_text"), {"type": "function_call", "call_id": "c"}, output], None)
        self.check([user("hi", kind="input_text"), {"type": "reasoning", "summary": []}], None)

    def test_not_what_it_should_be(self):
        """Inputs of any shape are no trouble."""
        for given in (None, 7, {}, [7], [None], [{}], [{"type": 7}], [{"type": []}], [{"role": "user", "content": 7}]):
            self.check(given, None)

    def test_instructions_behind(self):
        """Items that only change the instructions are looked past, as developer messages are."""
        tools = {"type": "additional_tools", "role": "developer", "tools": []}
        update = {"type": "configuration_update", "reasoning": {"effort": "low"}}
        self.check([user("hi", kind="input_text"), tools, update], "hi")
        self.check([user("hi", kind="input_text"), {"type": "reasoning", "summary": []}, tools], None)


class CorrelationTests(SynchronousTestCase):
    """The last tool result in a request names the call that it answers."""

    def test_messages(self):
        """Of several in a turn the last, in whatever turn it stands."""
        results = [{"type": "tool_result", "tool_use_id": name, "content": "42"} for name in ("a", "b")]
        turns = [user("hi"), user(*results), said("hm"), user("more")]
        self.assertEqual(MESSAGES.last_turn({"messages": turns}).tool_result_id, "b")
        self.assertIsNone(MESSAGES.last_turn({"messages": [user("hi")]}).tool_result_id)

    def test_chat(self):
        """The last message of role tool."""
        turns = [{"role": "tool", "tool_call_id": name} for name in ("a", "b")]
        self.assertEqual(CHAT.last_turn({"messages": [*turns, user("hi")]}).tool_result_id, "b")
        self.assertIsNone(CHAT.last_turn({"messages": [user("hi")]}).tool_result_id)

    def test_responses(self):
        """The last output of a function's or a custom tool's call."""
        items = [{"type": "function_call_output", "call_id": "a"}, {"type": "custom_tool_call_output", "call_id": "b"}]
        self.assertEqual(RESPONSES.last_turn({"input": items}).tool_result_id, "b")
        self.assertIsNone(RESPONSES.last_turn({"input": "hi"}).tool_result_id)
        items.append({"type": "local_shell_call_output", "id": "c", "output": "42"})
        self.assertEqual(RESPONSES.last_turn({"input": items}).tool_result_id, "c")
        items.append({"type": "tool_search_output", "call_id": "d", "execution": "client", "tools": []})
        self.assertEqual(RESPONSES.last_turn({"input": items}).tool_result_id, "d")
        items.append({"type": "tool_search_output", "call_id": None, "execution": "server", "tools": []})
        self.assertEqual(RESPONSES.last_turn({"input": items}).tool_result_id, "d")
        items.append({"type": "function_call_output", "id": "fco_1", "output": "42"})
        self.assertIsNone(RESPONSES.last_turn({"input": items}).tool_result_id)

    def test_not_what_it_should_be(self):
        """Requests of any shape are no trouble."""
        for odd in (None, 7, "x", {}, [7], [{}], [{"content": [7]}], [{"type": 7}], [{"role": "tool"}]):
            self.assertIsNone(MESSAGES.last_turn({"messages": odd}).tool_result_id)
            self.assertIsNone(CHAT.last_turn({"messages": odd}).tool_result_id)
            self.assertIsNone(RESPONSES.last_turn({"input": odd}).tool_result_id)
        block = {"type": "tool_result", "tool_use_id": ["x"]}
        self.assertIsNone(MESSAGES.last_turn({"messages": [user(block)]}).tool_result_id)
