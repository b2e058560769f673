"""The remote engine and a server that answers: replies, what is sent, what is refused, what it costs."""

import pytest

from pipelines import pipeline
from pipelines.engines import Completion
from pipelines.engines.remote.engine import RemoteEngine
from tests.doubles.faulty_server import FaultyServer, Handler, refuses, reply, status
from tests.doubles.remote_calls import ask, call, codes, engine, running_server

server = running_server


def test_a_reply_comes_piece_by_piece_and_is_counted_by_the_server(server: FaultyServer) -> None:
    items = list(engine(server).stream(call()))
    assert items[:-1] == ["Hello", " there."]
    completion = items[-1]
    assert isinstance(completion, Completion)
    assert (completion.text, completion.prompt_tokens, completion.completion_tokens) == ("Hello there.", 7, 3)
    assert completion.finish_reason == "stop"
    assert completion.first_token_s is not None
    assert 0 < completion.first_token_s <= completion.total_s
    assert completion.notes == ()


def test_the_payload_holds_what_every_server_takes_and_no_more(server: FaultyServer) -> None:
    ask(engine(server), call(stop=("END",), repetition_penalty=1.05))
    (body,) = server.bodies
    assert body == {
        "model": "m",
        "messages": [{"role": "user", "content": "Hello?"}],
        "max_tokens": 50,
        "temperature": 0.7,
        "top_p": 0.9,
        "seed": 3,
        "stop": ["END"],
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    assert server.asked[0].path == "/v1/chat/completions"


def test_greedy_decoding_sends_nothing_of_sampling(server: FaultyServer) -> None:
    ask(engine(server), call(temperature=0.0))
    assert server.bodies[0]["temperature"] == 0
    assert not {"top_p", "seed", "stop"} & set(server.bodies[0])


def test_geminis_path_is_left_as_it_is(server: FaultyServer) -> None:
    ask(RemoteEngine(f"http://{server.host}/v1beta/openai#m", context_length=4096))
    assert server.asked[0].path == "/v1beta/openai/chat/completions"


def test_thoughts_are_kept_out_of_the_text(server: FaultyServer) -> None:
    server.answers = [reply("42", thought="six times seven")]
    completion = ask(engine(server))
    assert completion.text == "42"
    (note,) = completion.notes
    assert note.code == "model_thought"
    assert (note.parameters["characters"], note.parameters["text"]) == (15, "six times seven")


@pytest.mark.parametrize(
    "pieces", [("<think>six times seven</think>\n\n42",), tuple("<think>six times seven</think>42")]
)
def test_thoughts_that_the_server_leaves_in_the_reply_are_taken_out(
    server: FaultyServer, pieces: tuple[str, ...]
) -> None:
    server.answers = [reply(*pieces)]
    completion = ask(engine(server))
    assert completion.text == "42"
    assert [note.parameters["text"] for note in completion.notes] == ["six times seven"]


def test_a_model_that_only_thought_is_said_to_have(server: FaultyServer) -> None:
    server.answers = [reply(thought="six times", finish="length", usage=(7, 50))]
    completion = ask(engine(server))
    assert (completion.text, completion.finish_reason) == ("", "length")
    assert codes(completion) == ["model_thought_only"]


def test_without_a_count_there_is_an_estimate_that_says_so(server: FaultyServer) -> None:
    server.answers = [reply("one two three", usage=None)]
    completion = ask(engine(server))
    assert codes(completion) == ["remote_usage_estimated"]
    assert completion.prompt_tokens > 0
    assert completion.completion_tokens >= 3


@pytest.mark.parametrize(
    ("finish", "reason", "noted"),
    [("length", "length", []), ("eos", "stop", []), ("content_filter", "stop", ["remote_filtered"])],
)
def test_why_it_ended(server: FaultyServer, finish: str, reason: str, noted: list[str]) -> None:
    server.answers = [reply("Well", finish=finish)]
    completion = ask(engine(server))
    assert (completion.finish_reason, codes(completion)) == (reason, noted)


def test_a_stop_string_that_the_server_sends_is_cut_off_and_ends_the_connection(server: FaultyServer) -> None:
    def answer(handler: Handler) -> None:
        handler.begin()
        for piece in ("one E", "N", "D two"):
            handler.text(piece)
        handler.wait_until_gone()

    server.answers = [answer]
    assert ask(engine(server), call(stop=("END",))).text == "one "
    assert server.gone.wait(5)


def test_line_separators_inside_of_a_reply_end_no_event(server: FaultyServer) -> None:
    def answer(handler: Handler) -> None:
        data = 'data: {"choices": [{"delta": {"content": "a\u2028b\u0085c"}, "finish_reason": "stop"}]}\n\n'.encode()
        handler.begin()
        for byte in data:  # also where one of them comes in parts
            handler.chunk(bytes([byte]))
        handler.chunk(b"")

    server.answers = [answer]
    assert ask(engine(server)).text == "a\u2028b\u0085c"


def test_keep_alive_comments_are_no_text(server: FaultyServer) -> None:
    def answer(handler: Handler) -> None:
        handler.begin()
        handler.chunk(b": working on it\n\n")
        handler.text("Hi", "stop")
        handler.chunk(b"")

    server.answers = [answer]
    assert ask(engine(server)).text == "Hi"


@pytest.mark.parametrize("field", ["temperature", "seed", "top_p"])
def test_a_refused_field_is_left_out_and_remembered(server: FaultyServer, field: str) -> None:
    message = f"Unsupported value: '{field}' does not support this with this model."
    server.answers = [refuses(400, message, param=field), reply("Fine.")]
    remote = engine(server)
    assert codes(ask(remote)) == ["remote_field_refused", "remote_adapted"]
    assert codes(ask(remote)) == ["remote_field_refused"]
    assert [field in body for body in server.bodies] == [True, False, False]


def test_a_limit_by_another_name(server: FaultyServer) -> None:
    message = (
        "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
    )
    server.answers = [refuses(400, message, param="max_tokens", code="unsupported_parameter"), reply("Fine.")]
    remote = engine(server)
    assert codes(ask(remote)) == ["remote_adapted"]
    assert codes(ask(remote)) == []
    assert [body.get("max_completion_tokens") for body in server.bodies] == [None, 50, 50]
    assert "max_tokens" not in server.bodies[1]


def test_a_server_that_cannot_count_while_it_streams(server: FaultyServer) -> None:
    server.answers = [status(422, {"detail": "Unexpected fields: {'stream_options'}"}), reply("Fine.", usage=None)]
    assert codes(ask(engine(server))) == ["remote_adapted", "remote_usage_estimated"]
    assert "stream_options" not in server.bodies[1]


def test_a_penalty_is_mentioned_where_a_person_set_it(server: FaultyServer) -> None:
    chat = pipeline("dialogue", server.reference, context_length=4096)
    question = [{"role": "user", "content": "Hi"}]
    assert codes(chat(messages=question)) == []  # the task's own default
    assert codes(chat(messages=question, repetition_penalty=1.3)) == ["remote_without_penalty"]


def test_prices_become_one_note_for_the_whole_request(server: FaultyServer) -> None:
    summarize = pipeline("summarization", server.reference, context_length=1000, price_prompt=2.5, price_completion=10)
    sentences = " ".join(f"Sentence number {number} speaks of the library." for number in range(60))
    generation = summarize(text=sentences, length="sentence")
    costs = [note for note in generation.notes if note.code == "remote_cost"]
    assert len(server.bodies) > 2
    assert len(costs) == 1
    expected = (generation.usage.prompt_tokens * 2.5 + generation.usage.completion_tokens * 10) / 1e6
    assert float(costs[0].parameters["cost"]) == pytest.approx(expected, abs=1e-6)
