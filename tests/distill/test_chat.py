"""The protocol's answers and errors in all the shapes that servers give them."""

import json

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from derain.backends.chat import read_answer, read_error


def test_messages_are_read_in_all_their_shapes() -> None:
    def message(content: object) -> object:
        return {"choices": [{"message": {"content": content}}]}

    assert read_answer(message("a")).text == "a"
    assert read_answer(message(None)).text == ""
    assert read_answer(message([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}])).text == "ab"
    assert read_error({"error": {"message": "m", "code": "c"}}) == ("m", "c", None)
    assert read_error({"error": "m"}) == ("m", "", None)
    assert read_error({"object": "error", "message": "m", "code": 400}) == ("m", "", None)
    assert read_error({"detail": "m"}) == ("m", "", None)
    assert read_error({"choices": []}) is None


def shapes() -> st.SearchStrategy[object]:
    """JSON of any shape, with the protocol's words as keys more often than not."""
    keys = st.sampled_from(
        ["choices", "message", "content", "logprobs", "token", "logprob", "top_logprobs", "usage", "prompt_tokens"]
    )
    leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3)
    return st.recursive(leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner), max_leaves=20)


@settings(max_examples=60)
@given(shapes(), shapes(), shapes())
def test_no_json_whatever_breaks_the_reader(content: object, weights: object, usage: object) -> None:
    choice = {"message": {"content": content}, "logprobs": {"content": [weights, {"token": "a", "logprob": weights}]}}
    for body in (content, {"choices": weights}, {"choices": [choice], "usage": usage}):
        json.dumps(body)
        try:
            answer = read_answer(body)
        except ValueError:
            continue
        assert isinstance(answer.text, str)
        assert all(np.isfinite(weight) for token in answer.tokens for weight in token.alternatives.values())
        assert answer.prompt_tokens >= 0
