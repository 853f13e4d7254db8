"""Conversations with injected tools, with restarts of gateways and MCP servers between two turns."""

from typing import Any

from aibridge.testing import Reply

from .conversing import ConversationTestCase, ours, theirs
from .talkers import ChatTalker, ForgetfulTalker, MessagesTalker, ResponsesTalker, StatelessTalker, ThreadTalker


class Story:
    """The behaviour in every API, streamed or not; a subclass says which client talks."""

    talker: Any
    streaming = True
    thoughtful = True
    """True if the API shows the model's thoughts."""

    async def test_conversation(self: Any) -> None:
        """With all kinds of calls, a changed server and a restarted gateway, the provider finds every request correct."""
        first = await self.open_gateway()
        talk = self.talk(self.talker, first.url, self.streaming)
        await self.hidden_call(talk)
        await self.change_menu(without="post", new="nachspeise")
        await self.own_call(talk)
        await self.mixed_calls(talk)
        await first.stop()
        second = await self.open_gateway()
        talk.go_to(second.url)
        await self.several_rounds(talk)
        third = await self.open_gateway()
        talk.go_to(third.url)
        await self.mixed_calls(talk, go_to=second.url)
        self.expect(Reply(thinking="t9", text="Bye."))
        self.assertEqual((await talk.say("seven")).text, "Bye.")
        self.assert_all_right()
        [offered] = {tuple(names) for names in self.offered() if names}
        self.assertIn("bmcp_menu_post", offered)
        self.assertNotIn("bmcp_menu_nachspeise", offered)

    async def hidden_call(self: Any, talk: Any) -> None:
        self.expect(
            Reply(thinking="t1", text="Let me look. ", tool_calls=[ours("echo", text="a")]),
            Reply(thinking="t2", text="It is a."),
        )
        said = await talk.say("one")
        self.assertEqual((said.text, said.calls, said.tokens), ("Let me look. It is a.", [], (20, 10)))
        self.assertEqual(said.thoughts, ["t1", "t2"] if self.thoughtful else [])

    async def own_call(self: Any, talk: Any) -> None:
        self.expect(Reply(thinking="t3", tool_calls=[theirs(city="Rome")]), Reply(text="Sunny."))
        said = await talk.say("two")
        [(call, _, arguments)] = said.calls
        self.assertEqual((arguments, said.tokens), ({"city": "Rome"}, (10, 5)))
        self.assertEqual((await talk.bring({call: "sun"})).text, "Sunny.")

    async def mixed_calls(self: Any, talk: Any, go_to: str | None = None) -> None:
        """Calls of the client's tools and the gateway's in one response."""
        mixed = [ours("echo", text="b"), theirs(city="Rome"), ours("echo", text="c"), theirs(city="Oslo")]
        self.expect(Reply(thinking="t4", text="Both. ", tool_calls=mixed), Reply(thinking="t5", text="Done."))
        said = await talk.say("three")
        self.assertEqual([arguments["city"] for _, _, arguments in said.calls], ["Rome", "Oslo"])
        if go_to:
            talk.go_to(go_to)
        self.assertEqual((await talk.bring({call: "rain" for call, _, _ in said.calls})).text, "Done.")

    async def several_rounds(self: Any, talk: Any) -> None:
        """Parallel calls, one of a tool that is gone, then calls beside the client's own."""
        self.expect(
            Reply(thinking="t6", text="First. ", tool_calls=[ours("echo", text="d"), ours("post", to={"street": "x"})]),
            Reply(tool_calls=[ours("echo", text="e")]),
            Reply(thinking="t7", text="Then. ", tool_calls=[ours("echo", text="f"), theirs(city="Bern")]),
        )
        said = await talk.say("four")
        self.assertEqual((said.text, said.tokens), ("First. Then. ", (30, 15)))
        self.expect(Reply(tool_calls=[ours("echo", text="g")]), Reply(thinking="t8", text="At last."))
        [(call, _, _)] = said.calls
        self.assertEqual((await talk.bring({call: "snow"})).text, "At last.")


class MessagesStream(Story, ConversationTestCase):
    """Messages."""

    talker = MessagesTalker


class MessagesAtOnce(Story, ConversationTestCase):
    """Messages, not streamed."""

    talker = MessagesTalker
    streaming = False


class ThreadStream(Story, ConversationTestCase):
    """A message thread."""

    talker = ThreadTalker


class ThreadAtOnce(Story, ConversationTestCase):
    """A message thread, not streamed."""

    talker = ThreadTalker
    streaming = False


class ResponsesStream(Story, ConversationTestCase):
    """Responses that the provider keeps."""

    talker = ResponsesTalker


class ResponsesAtOnce(Story, ConversationTestCase):
    """The same API, not streamed."""

    talker = ResponsesTalker
    streaming = False


class StatelessStream(Story, ConversationTestCase):
    """Responses that the client keeps."""

    talker = StatelessTalker


class StatelessAtOnce(Story, ConversationTestCase):
    """The same API, not streamed."""

    talker = StatelessTalker
    streaming = False


class ForgetfulStream(Story, ConversationTestCase):
    """Responses that nobody keeps whole."""

    talker = ForgetfulTalker


class ForgetfulAtOnce(Story, ConversationTestCase):
    """The same API, not streamed."""

    talker = ForgetfulTalker
    streaming = False


class ChatStream(Story, ConversationTestCase):
    """Chat completions."""

    talker = ChatTalker
    thoughtful = False


class ChatAtOnce(Story, ConversationTestCase):
    """The same API, not streamed."""

    talker = ChatTalker
    streaming = False
    thoughtful = False
