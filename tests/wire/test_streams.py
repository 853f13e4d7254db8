"""Streams of every API, in every form and in any pieces."""

import tracemalloc

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from .streams import (
    CHAT_SAMPLE,
    LIMIT,
    MESSAGES_SAMPLE,
    RESPONSES_SAMPLE,
    SAMPLES,
    VARIANTS,
    commented,
    cut,
    frames,
    read,
    replay,
)

_odd_frames = st.sampled_from(
    [
        b": keep-alive\n\n",
        b"\n\n",
        b"\r\n\r\n",
        b"data\n\n",
        b"data: \n\n",
        b"data: {\n\n",
        b"data: [1]\n\n",
        b"data: null\r\n\r\n",
        b"event: x\rdata: {}\r\rid: 1\n\n",
        b"garbage \xff\xfe\x00\n\n",
        'data: {"type":"ping","x":"你好"}\n\n'.encode(),
    ]
)


class EveryStreamTests(SynchronousTestCase):
    """Bytes in are bytes out, and what they say doesn't hang on how they came."""

    def test_says_what_it_says(self):
        """Each sample's id, calls, thoughts and token counts are read in full, in order."""
        for sample in SAMPLES:
            answer = read(sample, sample.stream)
            figures = sample.format.count_tokens(answer.usage)
            self.assertEqual(answer.response_id, sample.response_id)
            self.assertEqual(answer.tool_calls, sample.tool_calls)
            self.assertEqual(answer.thoughts, sample.thoughts)
            self.assertEqual((figures.input, figures.output, figures.cache_read, figures.cache_write), sample.figures)
            self.assertEqual(dict(figures.others), sample.others)
            self.assertTrue(answer.finished)
            self.assertIsNone(answer.error)

    def test_forms(self):
        """Line ends, comments, marks and unknown events change nothing of what is said, and all of them pass."""
        for sample in SAMPLES:
            for name, form in VARIANTS.items():
                stream = form(sample.stream)
                tap = sample.tap()
                passed, held = replay(tap, [stream])
                self.assertEqual(passed + held, stream, name)
                self.assertEqual(tap.answer, read(sample, sample.stream), f"{sample.format.name}: {name}")

    def test_cut_anywhere(self):
        """Cut in two at any byte, amid a character too, the same bytes pass, the same wait, and the same is read."""
        for sample in SAMPLES:
            for form in ("as it came", "CR LF", "CR"):
                stream = VARIANTS[form](sample.stream)
                whole = sample.tap()
                expected = replay(whole, [stream])
                for place in range(0, len(stream) + 1, 1 if form == "as it came" else 7):
                    tap = sample.tap()
                    self.assertEqual(replay(tap, [stream[:place], stream[place:]]), expected)
                    self.assertEqual(tap.answer, whole.answer)

    def test_byte_by_byte(self):
        """Streams that come byte by byte are read alike, in any form."""
        for sample in SAMPLES:
            for name, form in VARIANTS.items():
                stream = form(sample.stream)
                whole, tap = sample.tap(), sample.tap()
                expected = replay(whole, [stream])
                self.assertEqual(replay(tap, cut(stream, range(1, len(stream)))), expected, name)
                self.assertEqual(tap.answer, whole.answer, name)

    def test_frames_go_on_when_whole(self):
        """Each frame but the last one passes with its last byte, and not before."""
        for sample in SAMPLES:
            tap = sample.tap()
            for frame in frames(sample.stream)[:-1]:
                self.assertEqual(tap.feed(frame[:-1]), b"")
                self.assertEqual(tap.feed(frame[-1:]), frame)

    def test_the_end_waits(self):
        """From the terminal frame on nothing passes, whatever follows it, until all is released."""
        for sample in SAMPLES:
            tap = sample.tap()
            more = b": more\n\ndata: {}\n\ndata: cut off"
            self.assertEqual(tap.feed(sample.stream + more), sample.stream.removesuffix(sample.last))
            self.assertTrue(tap.at_end)
            self.assertEqual(tap.feed(b" here\n\n"), b"")
            tap.close()
            self.assertEqual(tap.release(), sample.last + more + b" here\n\n")
            self.assertEqual(tap.release(), b"")
            self.assertEqual(tap.feed(b"data: late"), b"data: late")

    def test_error_in_mid_stream(self):
        """A provider's error is a terminal frame: it waits, and its name is known."""
        names = {"messages": "overloaded_error", "chat/completions": "server_error", "responses": "server_error"}
        for sample in SAMPLES:
            for form in VARIANTS.values():
                stream = form(sample.failing)
                tap = sample.tap()
                passed, held = replay(tap, [stream])
                self.assertTrue(tap.at_end)
                self.assertEqual(tap.answer.error, names[sample.format.name])
                self.assertIn(names[sample.format.name].encode(), held)
                self.assertEqual(passed + held, stream)

    def test_no_last_blank_line(self):
        """A stream that ends with its last line unended is read to its end, and that piece waits."""
        for sample in SAMPLES:
            for missing in (1, 2):
                stream = sample.stream[:-missing]
                tap = sample.tap()
                passed = tap.feed(stream)
                self.assertFalse(tap.answer.finished)
                tap.close()
                self.assertTrue(tap.answer.finished)
                self.assertTrue(tap.at_end)
                self.assertEqual(passed, stream.removesuffix(sample.last[:-missing]))
                self.assertEqual(tap.release(), sample.last[:-missing])

    def test_empty(self):
        """A stream without a byte says nothing and is not whole."""
        for sample in SAMPLES:
            tap = sample.tap()
            self.assertEqual(replay(tap, []), (b"", b""))
            self.assertFalse(tap.answer.finished)

    def test_broken_off(self):
        """Facts read before a stream was cut are kept, and the answer is not finished."""
        for sample in SAMPLES:
            tap = sample.tap()
            tap.feed(b"".join(frames(sample.stream)[:-2]))
            tap.close(whole=False)
            answer = tap.answer
            self.assertFalse(answer.finished)
            self.assertEqual(answer.response_id, sample.response_id)
            self.assertEqual(answer.thoughts, sample.thoughts)

    @given(st.binary(max_size=400), st.sets(st.integers(0, 400)))
    def test_garbage(self, garbage, places):
        """Whatever is no stream passes as it is."""
        for sample in SAMPLES:
            pieces = cut(garbage, {place for place in places if place < len(garbage)})
            self.assertEqual(b"".join(replay(sample.tap(), pieces)), garbage)

    @given(st.data())
    def test_any_frames_any_pieces(self, data):
        """Frames of any kind in any order, in any pieces: all of it comes out, in order, and nothing twice."""
        sample = data.draw(st.sampled_from(SAMPLES))
        real = st.sampled_from(frames(sample.stream)[:-1])
        stream = b"".join(data.draw(st.lists(real | _odd_frames, max_size=12))) + data.draw(
            st.sampled_from([b"", b"data: unended", sample.last, sample.last + b": more\n\n"])
        )
        places = data.draw(st.sets(st.integers(0, max(0, len(stream) - 1)), max_size=20))
        whole, tap = sample.tap(), sample.tap()
        expected = replay(whole, [stream])
        self.assertEqual(b"".join(expected), stream)
        self.assertEqual(replay(tap, cut(stream, places)), expected)
        self.assertEqual(tap.answer, whole.answer)


class NoNumberTests(SynchronousTestCase):
    """NaN and Infinity, which some providers write though they are not JSON."""

    def test_read(self):
        """Events with them are read, and pass byte for byte."""
        for sample in SAMPLES:
            stream = sample.stream.replace(b"data: {", b'data: {"logprobs":[NaN,-Infinity,1e999],')
            tap = sample.tap()
            self.assertEqual(b"".join(replay(tap, [stream])), stream)
            self.assertEqual(tap.answer, read(sample, sample.stream))


class LongFrameTests(SynchronousTestCase):
    """A line of many megabytes."""

    def _deltas(self):
        text = b"x" * 20_000_000
        return (
            (
                MESSAGES_SAMPLE,
                b'event: content_block_delta\ndata: {"type":"content_block_delta","index":2,"delta":'
                b'{"type":"text_delta","text":"%b"}}\n\n' % text,
            ),
            (
                RESPONSES_SAMPLE,
                b"event: response.output_text.delta\n"
                b'data: {"type":"response.output_text.delta","delta":"%b"}\n\n' % text,
            ),
        )

    def test_of_no_interest(self):
        """A long frame without anything to record passes as it arrives, in little memory; later frames are read."""
        for sample, long in self._deltas():
            tap = sample.tap(limit=32 * LIMIT)
            behind = sample.stream
            sent = 0
            tracemalloc.start()
            try:
                for start in range(0, len(long), 64_000):
                    sent += len(tap.feed(long[start : start + 64_000]))
                peak = tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()
            self.assertEqual(sent, len(long))
            self.assertLess(peak, 1_000_000)
            self.assertEqual(b"".join(replay(tap, [behind])), behind)
            self.assertEqual(tap.answer, read(sample, sample.stream))

    def test_of_interest(self):
        """A long frame with something to record is kept whole, read and passed."""
        sample = CHAT_SAMPLE
        arguments = b"y" * 20_000_000
        long = b'data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":9,"function":{"name":"long","arguments":'
        long += b'"%b"}}]},"finish_reason":null}]}\n\n' % arguments
        tap = sample.tap(limit=32 * LIMIT)
        pieces = cut(long, range(64_000, len(long), 64_000))
        self.assertEqual(b"".join([tap.feed(piece) for piece in pieces]), long)
        tap.feed(sample.stream)
        self.assertEqual([len(call.input) for call in tap.answer.tool_calls if call.name == "long"], [20_000_000])

    def test_over_the_limit(self):
        """A frame that is too long to be kept passes unread, and later frames are read."""
        for sample in SAMPLES:
            long = b"data: {" + b'"x":"' + b"z" * 3 * LIMIT + b'"}\r\n\r\n'
            tap = sample.tap(limit=LIMIT)
            pieces = cut(long, range(5_001, len(long), 50_001))
            passed = b"".join([tap.feed(piece) for piece in pieces])
            self.assertEqual(passed, long)
            self.assertEqual(b"".join(replay(tap, [sample.stream])), sample.stream)
            self.assertEqual(tap.answer, read(sample, sample.stream))

    def test_never_ended(self):
        """The end of the stream amid a long frame loses none of its bytes."""
        for sample, long in self._deltas():
            for size in (70_000, 200_003):
                tap = sample.tap()
                pieces = cut(long[:size], range(10_000, size, 10_000))
                self.assertEqual(b"".join(replay(tap, pieces)), long[:size])

    def test_between_frames(self):
        """The gateway's own events fit only where no frame of the provider's is half sent."""
        sample, long = self._deltas()[0]
        tap = sample.tap()
        self.assertTrue(tap.between_frames)
        tap.feed(long[:50])
        self.assertTrue(tap.between_frames)
        tap.feed(long[50:100_000])
        self.assertFalse(tap.between_frames)
        tap.feed(long[100_000:])
        self.assertTrue(tap.between_frames)


class CommentTests(SynchronousTestCase):
    """Comments are a provider's keep-alives."""

    def test_pass_at_once(self):
        """Comments pass while there are no events."""
        for sample in SAMPLES:
            tap = sample.tap()
            self.assertEqual(tap.feed(b": ping\n\n"), b": ping\n\n")
            self.assertEqual(tap.answer, sample.tap().answer)
            self.assertIn(b": keep-alive\n\n", commented(sample.stream))
