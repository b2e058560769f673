"""The tokens of the engine for encoder–decoder models are transformers' own: alone, in batches, by beams, by chance."""

import random
import shutil
import threading

import pytest
import torch

from pipelines.engines.assembly import TextAssembler
from tests.doubles.seq2seq_calls import NONSENSE, Engines, edited, load, run, summarize, translate
from tests.doubles.seq2seq_training import ENGLISH, GERMAN, TARGETS
from tests.doubles.tiny_seq2seq import ARTICLES, SUMMARIES


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engines:
    return Engines(tmp_path_factory.getbasetemp())


@pytest.mark.parametrize("beams", [1, 4])
@pytest.mark.parametrize("name", ["bart", "led", "pegasus"])
def test_tokens_are_those_of_plain_transformers(engine, name, beams):
    ours = engine(name, num_beams=beams)
    tokenizer = ours.tokenizer
    inputs = tokenizer(NONSENSE, return_tensors="pt")
    if name == "led":
        inputs["global_attention_mask"] = torch.zeros_like(inputs["input_ids"]).index_fill(1, torch.tensor([0]), 1)
    inputs.pop("token_type_ids", None)
    found = ours.model.generate(
        **inputs, num_beams=beams, do_sample=False, max_new_tokens=40, decoder_start_token_id=ours.family.start[0],
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    _, completion = run(ours, summarize())
    assert completion.text == tokenizer.decode(found[0], skip_special_tokens=True)
    tokens = found[0, 1:].tolist()
    ended = tokenizer.eos_token_id in tokens
    assert completion.completion_tokens == (tokens.index(tokenizer.eos_token_id) + 1 if ended else 40)
    assert completion.finish_reason == ("stop" if ended else "length")
    assert completion.prompt_tokens == inputs["input_ids"].shape[1]


LANGUAGES = {
    "nllb": ("eng_Latn", "fra_Latn"), "m2m100": ("en", "fr"), "mbart50": ("en_XX", "fr_XX"),
    "mbart25": ("en_XX", "fr_XX"),
}  # fmt: skip


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("name", LANGUAGES)
def test_languages_are_told_as_the_model_cards_tell_them(engine, name, beams):
    """Through ``src_lang`` and ``forced_bos_token_id``, on a text that the models do not know."""
    ours = engine(name, num_beams=beams)
    tokenizer, (source, target) = ours.tokenizer, LANGUAGES[name]
    tokenizer.src_lang = source
    inputs = tokenizer("The old dogs drink late in the open city.", return_tensors="pt")
    token = tokenizer.convert_tokens_to_ids(f"__{target}__" if name == "m2m100" else target)
    told = {"decoder_start_token_id": token} if name == "mbart25" else {"forced_bos_token_id": token}
    start = {"decoder_start_token_id": 2, "eos_token_id": 2, "pad_token_id": 1}
    found = ours.model.generate(**inputs, **{**start, **told}, num_beams=beams, do_sample=False, max_new_tokens=31)
    call = translate("The old dogs drink late in the open city.", "fr", max_new_tokens=31 if name == "mbart25" else 30)
    assert run(ours, call)[1].text == tokenizer.decode(found[0], skip_special_tokens=True)


@pytest.mark.parametrize("name", ["marian", "m2m100", "nllb", "t5", "bart"])
def test_pieces_of_any_tokens_join_to_what_the_tokenizer_makes_of_them_at_once(engine, name):
    tokenizer = engine(name).tokenizer
    plain = [token for token in range(len(tokenizer)) if token not in tokenizer.all_special_ids]
    chance = random.Random(0)
    for _ in range(300):
        tokens = chance.choices(plain, k=chance.randint(1, 10))
        text = TextAssembler(tokenizer)
        pieces = [text.push(token) for token in tokens]
        assert "".join([*pieces, text.finish()]) == tokenizer.decode(tokens)


def test_a_folder_with_a_sentencepiece_model_alone_is_enough(engine, tmp_path):
    """As mT5's and other older repositories have it, without a ``tokenizer.json``."""
    folder = tmp_path / "t5"
    shutil.copytree(engine.folder("t5"), folder)
    (folder / "tokenizer.json").unlink()
    shutil.copy(folder / "raw" / "spiece.model", folder)
    assert run(load(folder), translate())[1].text == GERMAN[1]


def test_without_beams_the_text_comes_piece_by_piece_and_with_them_at_the_end(engine):
    live, completion = run(engine("marian", num_beams=1), translate("We drink cold water."))
    assert len(live) > 3
    assert completion.first_token_s is not None
    assert completion.first_token_s < completion.total_s
    whole, with_beams = run(engine("marian"), translate("We drink cold water."))
    assert len(whole) == 1
    assert completion.text == with_beams.text == GERMAN[5]
    assert completion.completion_tokens == with_beams.completion_tokens


def test_rows_of_a_batch_are_what_they_are_alone_in_any_company(engine):
    ours = engine("nllb", num_beams=1, token_budget=40)  # four rows at most
    calls = [translate(text, target) for text in ENGLISH for target in ("de", "fr")]
    done: list[int] = []
    results = ours.batch(calls, on_done=lambda index, _completion: done.append(index))
    wanted = [TARGETS[target][index] for index in range(len(ENGLISH)) for target in ("de", "fr")]
    assert [result.text for result in results] == wanted
    assert sorted(done) == list(range(len(calls)))
    assert [run(ours, call)[1].text for call in calls[:4]] == wanted[:4]


def test_two_requests_at_once_never_mix_their_languages(engine):
    ours = engine("nllb", num_beams=1)
    wrong: list[str] = []

    def ask(target: str) -> None:
        for text, wanted in zip(ENGLISH, TARGETS[target], strict=True):
            if (found := run(ours, translate(text, target))[1].text) != wanted:
                wrong.append(found)

    threads = [threading.Thread(target=ask, args=(target,)) for target in ("de", "fr")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_seed_gives_the_same_text_alone_and_in_a_batch(engine):
    ours = engine("bart")
    texts = (NONSENSE, NONSENSE[:40])
    calls = [summarize(text, temperature=5.0, top_p=0.95, seed=seed) for seed in (1, 2) for text in texts]
    together = [result.text for result in ours.batch(calls)]
    assert together == [run(ours, call)[1].text for call in calls]
    assert len(set(together)) == 4
    torch.manual_seed(99)
    state = torch.get_rng_state()
    assert run(ours, calls[0])[1].text == together[0]
    assert torch.equal(torch.get_rng_state(), state)  # nobody else's dice were used


def test_the_limit_of_tokens_is_kept_and_said(engine):
    for beams in (1, 4):
        _, completion = run(engine("marian", num_beams=beams), translate("She reads a good book.", max_new_tokens=3))
        assert (completion.finish_reason, completion.completion_tokens) == ("length", 3)


def test_a_checkpoints_own_maximum_never_cuts_a_reply_and_its_minimum_adds_nothing(engine, tmp_path):
    changes = {"max_length": 4, "min_length": 56, "forced_eos_token_id": 2}
    ours = load(edited(engine.folder("bart"), tmp_path / "bart", **changes))
    results = ours.batch([summarize(text) for text in ARTICLES])
    assert [result.text for result in results] == SUMMARIES
    _, cut = run(ours, summarize(ARTICLES[0], max_new_tokens=4))
    assert cut.finish_reason == "length"  # forced to end is not an end


def test_the_checkpoint_says_how_it_is_decoded(engine, tmp_path):
    """No token may come twice: the reply to a text of nonsense, which repeats itself otherwise, has none twice."""
    changes = {"no_repeat_ngram_size": 1, "num_beams": 2}
    ours = load(edited(engine.folder("bart"), tmp_path / "bart", **changes))
    text = run(ours, summarize(NONSENSE, max_new_tokens=30))[1].text
    tokens = ours.tokenizer(text, add_special_tokens=False)["input_ids"]
    assert len(tokens) == len(set(tokens))
