"""Messages between the parent and a worker."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from aibridge.workers.channel import MessageReader, write_message

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(), lambda inner: st.lists(inner), max_leaves=5
)


class ChannelTests(SynchronousTestCase):
    """What is written, and what is read of it."""

    @given(st.lists(json_values), st.lists(st.integers(0, 200)))
    def test_pieces(self, values: list[object], cuts: list[int]) -> None:
        """Messages arrive whole and in order, wherever the pipe cuts their bytes."""
        data = b"".join(write_message(told="x", value=value) for value in values)
        ends = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
        reader = MessageReader()
        read = [message for begin, end in pairwise(ends) for message in reader.feed(data[begin:end])]
        self.assertEqual(read, [{"told": "x", "value": value} for value in values])
