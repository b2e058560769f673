"""Families of encoder–decoder models: their codes against BCP 47 tags, their limits and advice, how they are told."""

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langcodes import Language
from transformers import (
    BartConfig,
    GenerationConfig,
    LEDConfig,
    M2M100Config,
    MarianConfig,
    MBartConfig,
    T5Config,
    T5GemmaConfig,
    WhisperConfig,
)
from transformers.models.m2m_100.tokenization_m2m_100 import FAIRSEQ_LANGUAGE_CODES as M2M100
from transformers.models.mbart.tokenization_mbart import FAIRSEQ_LANGUAGE_CODES as MBART25
from transformers.models.mbart50.tokenization_mbart50 import FAIRSEQ_LANGUAGE_CODES as MBART50
from transformers.models.nllb.tokenization_nllb import FAIRSEQ_LANGUAGE_CODES as NLLB

from pipelines import InputError
from pipelines.models.families import Advice, advice_for, find_family, limits_of
from pipelines.models.families.codes import Languages, is_group, tag_of
from pipelines.tasks.summarization import SummarizationRequest
from pipelines.tasks.translation import TranslationRequest
from pipelines.text.languages import LANGUAGES, parse_language

OPUS = [
    "cmn", "cmn_Hans", "cmn_Hant", "zho", "yue_Hant", "fra", "pt_br", "pt_PT", "deu", "por", "aze_Latn", "ara", "arz",
    "srp_Latn", "srp_Cyrl", "nob", "nno", "zlm_Latn", "tgl_Latn", "roa", "ROMANCE", "xx",
]  # fmt: skip
MADLAD = [
    "de", "fr", "zh", "zh_Hant", "pt", "fil", "no", "iw", "sr", "sr_Latn", "yue", "ar", "arz", "ms", "id", "jv",
]  # fmt: skip
# Wider codes of some families and the individual language that NLLB has for each.
WIDER = [
    {"sq", "als"}, {"ar", "arb"}, {"az", "azj"}, {"ff", "fuv"}, {"mn", "khk"}, {"lv", "lvs"}, {"nb", "no"},
    {"nn", "no"}, {"ne", "npi"}, {"or", "ory"}, {"ps", "pbt"}, {"fa", "pes"}, {"mg", "plt"}, {"sw", "swh"},
    {"uz", "uzn"}, {"yi", "ydd"}, {"ms", "zsm"}, {"zlm", "zsm"}, {"zh", "cmn"},
]  # fmt: skip
FAMILIES = {
    "m2m100": M2M100["m2m100"], "nllb": NLLB, "mbart50": MBART50, "mbart25": MBART25, "opus": OPUS, "madlad": MADLAD,
}  # fmt: skip

# tag: m2m100, nllb, mbart50, mbart25, opus, madlad. "?" where the code leaves open what was asked, "-" where there is
# none.
TABLE = """\
en        en   eng_Latn   en_XX   en_XX  -         -
zh        zh   zho_Hans   zh_CN   zh_CN  zho       zh
zh-Hans   zh   zho_Hans   zh_CN   zh_CN  cmn_Hans  zh
zh-CN     zh   zho_Hans   zh_CN   zh_CN  cmn_Hans  zh
zh-Hant   zh?  zho_Hant   -       -      cmn_Hant  zh_Hant
zh-TW     zh?  zho_Hant   -       -      cmn_Hant  zh_Hant
yue       -    yue_Hant   -       -      yue_Hant  yue
pt        pt   por_Latn   pt_XX   -      por       pt
pt-BR     pt   por_Latn   pt_XX   -      pt_br     pt
pt-PT     pt?  por_Latn?  pt_XX?  -      pt_PT     pt?
fil       tl   tgl_Latn   tl_XX   -      tgl_Latn  fil
tl        tl   tgl_Latn   tl_XX   -      tgl_Latn  fil
no        no   nob_Latn   -       -      nob       no
nb        no   nob_Latn   -       -      nob       no
nn        no?  nno_Latn   -       -      nno       no?
sr        sr   srp_Cyrl   -       -      srp_Cyrl  sr
sr-Latn   sr?  -          -       -      srp_Latn  sr_Latn
sr-Cyrl   sr   srp_Cyrl   -       -      srp_Cyrl  sr
ms        ms   zsm_Latn   -       -      zlm_Latn  ms
ar        ar   arb_Arab   ar_AR   ar_AR  ara       ar
arz       -    arz_Arab   -       -      arz       arz
fa        fa   pes_Arab   fa_IR   -      -         -
fa-AF     fa?  prs_Arab   fa_IR?  -      -         -
he        he   heb_Hebr   he_IL   -      -         iw
ku        -    kmr_Latn   -       -      -         -
ckb       -    ckb_Arab   -       -      -         -
sw        sw   swh_Latn   sw_KE   -      -         -
uz-Cyrl   uz?  -          -       -      -         -
nso       ns   nso_Latn   -       -      -         -
ps        ps   pbt_Arab   ps_AF   -      -         -
mn        mn   khk_Cyrl   mn_MN   -      -         -
lv        lv   lvs_Latn   lv_LV   lv_LV  -         -
ja        ja   jpn_Jpan   ja_XX   ja_XX  -         -
tlh       -    -          -       -      -         -
""".splitlines()


@pytest.mark.parametrize("line", TABLE, ids=lambda line: line.split()[0])
def test_each_family_has_its_own_code_for_a_tag(line):
    tag, *wanted = line.split()
    found = []
    for codes in FAMILIES.values():
        match = Languages(codes).find(parse_language(tag))
        found.append("-" if match is None else match.code + ("" if match.exact else "?"))
    assert found == wanted


@pytest.mark.parametrize("name", ["m2m100", "nllb", "mbart50", "mbart25", "madlad"])
def test_every_code_of_a_family_is_found_by_its_own_tag(name):
    languages = Languages(FAMILIES[name])
    assert set(languages.tags) == set(FAMILIES[name])
    for code, tag in languages.tags.items():
        match = languages.find(tag)
        assert match is not None
        assert (match.code, match.exact) == (code, True)


@pytest.mark.parametrize("tag", LANGUAGES)
def test_every_language_that_the_lists_offer_is_known_to_nllb(tag):
    assert Languages(NLLB).find(tag)


@pytest.mark.parametrize("name", ["m2m100", "mbart50", "opus", "madlad"])
def test_a_code_is_never_that_of_another_language_or_script(name):
    languages = Languages(FAMILIES[name])
    for tag in Languages(NLLB).tags.values():
        if match := languages.find(tag):
            asked, found = Language.get(tag).maximize(), Language.get(match.tag).maximize()
            pair = {asked.language, found.language}
            assert len(pair) == 1 or pair in WIDER
            assert asked.script == found.script or not match.exact


@given(st.sampled_from(NLLB), st.sampled_from(["", "-Latn", "-Cyrl", "-Arab", "-US", "-IN", "-Hant-HK"]))
def test_any_tag_finds_its_language_or_nothing(code, more):
    asked = parse_language(tag_of(code).split("-")[0] + more)  # type: ignore[union-attr]
    for name in ("m2m100", "nllb", "mbart50", "mbart25"):
        languages = Languages(FAMILIES[name])
        if match := languages.find(asked):
            assert languages.find(match.tag).code == match.code
        assert len(languages.nearest(asked)) == len(set(languages.nearest(asked)))


def test_groups_and_words_are_no_languages():
    assert [code for code in ("roa", "mul", "gmw", "cpf", "zhx", "ROMANCE", "xx") if not is_group(code)] == []
    assert not is_group("fr")
    assert not set(Languages(OPUS).tags) & {"roa", "ROMANCE", "xx"}


def test_the_nearest_languages_come_first():
    assert Languages(M2M100["m2m100"]).nearest("yue")[:2] == ["zh", "en"]
    assert Languages(NLLB).nearest("zh-Latn")[:2] == ["zh-Hans", "zh-Hant"]
    assert "cs-CZ" not in Languages(MBART50).nearest("da")
    assert Languages(["es_MX", "es_ES"]).nearest("es") == ["es", "es-MX"]


# --- limits


def tokenizer(length: float = 1e30, vocabulary: tuple[str, ...] = (), **attributes: Any) -> Any:
    words = {word: index for index, word in enumerate(vocabulary)}
    return SimpleNamespace(model_max_length=length, get_vocab=lambda: words, **attributes)


@pytest.mark.parametrize(
    ("config", "length", "wanted"),
    [
        (MarianConfig(max_position_embeddings=512), 512, (512, 512, True)),
        (M2M100Config(max_position_embeddings=1024), 1e30, (1024, 1024, True)),
        (BartConfig(max_position_embeddings=1024), 600, (600, 1024, True)),
        (LEDConfig(max_encoder_position_embeddings=4096, max_decoder_position_embeddings=512), 1e30, (4096, 512, True)),
        (T5Config(), 512, (512, 512, False)),
        (T5Config(n_positions=800), 1e30, (800, 800, False)),
        (T5Config(), 1e30, (512, 512, False)),
        (T5GemmaConfig(), 1e30, (8192, 8192, True)),
    ],
)
def test_lengths_come_from_config_and_tokenizer(config, length, wanted):
    limits = limits_of(config, tokenizer(length))
    assert (limits.encoder, limits.decoder, limits.hard) == wanted


# --- advice


def test_advice_is_the_generation_configs_then_that_of_the_task_then_ours():
    params = {"summarization": {"num_beams": 8, "length_penalty": 2.0, "min_length": 30, "prefix": "summarize: "}}
    said = GenerationConfig(num_beams=6)
    advice = advice_for("summarization", said, params, instruction=False)
    assert advice == Advice(num_beams=6, length_penalty=2.0, min_length=30)
    assert advice_for("translation_en_to_de", GenerationConfig(), params, instruction=False) == Advice()
    assert advice_for("", GenerationConfig(length_penalty=2.0), params, instruction=True) == Advice(num_beams=1)


def test_a_minimum_length_never_asks_more_of_a_short_text_than_it_can_give():
    advice = Advice(min_length=56)
    assert [advice.shortest(tokens) for tokens in (4, 40, 560, 800)] == [0, 4, 56, 56]


# --- families


def family(config: Any, tokenizer: Any, prefix: str | None = None, **generation: Any) -> Any:
    return find_family(config, GenerationConfig(**generation), tokenizer, "m", prefix)


def translation(**fields: Any) -> TranslationRequest:
    return TranslationRequest(**{"text": "Good morning.", "source": "en", "target": "de", **fields})


def test_opus_with_one_target_reads_the_text_alone():
    marian = family(MarianConfig(), tokenizer(source_lang="en", target_lang="de"))
    reading = marian.read("translation", translation(), "")
    assert (reading.text, reading.start, reading.notes) == ("Good morning.", (58100,), ())
    with pytest.raises(InputError, match="cannot translate from French") as error:
        marian.read("translation", translation(source="fr"), "")
    assert error.value.code == "seq2seq_source"


def test_opus_with_many_targets_puts_a_tag_before_the_text():
    vocabulary = tuple(f">>{code}<<" for code in OPUS)
    marian = family(MarianConfig(), tokenizer(vocabulary=vocabulary, source_lang="en", target_lang="mul"))
    assert marian.read("translation", translation(target="pt-BR"), "").text == ">>pt_br<< Good morning."
    assert marian.read("translation", translation(target="zh-Hant"), "").text == ">>cmn_Hant<< Good morning."


def test_opus_that_reads_a_group_of_languages_reads_any():
    marian = family(MarianConfig(), tokenizer(source_lang="ROMANCE", target_lang="en"))
    assert marian.read("translation", translation(source="it", target="en"), "").notes == ()


def test_a_model_whose_files_name_no_languages_says_so():
    reading = family(MarianConfig(), tokenizer()).read("translation", translation(), "")
    assert [note.code for note in reading.notes] == ["seq2seq_pair_unstated"]


def test_a_variety_that_the_model_does_not_tell_apart_is_noted():
    codes = {code: 200 + index for index, code in enumerate(M2M100["m2m100"])}
    model = family(M2M100Config(vocab_size=400), tokenizer(lang_code_to_id=codes), decoder_start_token_id=2)
    reading = model.read("translation", translation(target="zh-Hant"), "")
    assert reading.start == (2, codes["zh"])
    assert reading.source == "en"
    assert [(note.code, note.parameters["asked"]) for note in reading.notes] == [("seq2seq_variant", "zh-Hant")]


def test_a_checkpoint_that_was_trained_for_one_target_says_so_by_its_first_token():
    vocabulary = ("<s>", "<pad>", "</s>", "<unk>", *MBART50)
    config = MBartConfig(vocab_size=60, decoder_start_token_id=2)
    mbart = family(config, tokenizer(vocabulary=vocabulary), forced_bos_token_id=vocabulary.index("ro_RO"))
    assert mbart.read("translation", translation(target="ro"), "").start == (2, vocabulary.index("ro_RO"))
    with pytest.raises(InputError, match="Of the 1 language"):
        mbart.read("translation", translation(target="de"), "")


T5_PARAMS = {
    "summarization": {"prefix": "summarize: "},
    "translation_en_to_de": {"prefix": "translate English to German: "},
    "translation_en_to_fr": {"prefix": "translate English to French: "},
}


def test_t5_is_asked_by_the_prefixes_of_its_config_and_knows_nothing_else():
    t5 = family(T5Config(decoder_start_token_id=0, task_specific_params=T5_PARAMS), tokenizer(chat_template=None))
    reading = t5.read("translation", translation(target="fr"), "")
    assert reading.text == "translate English to French: Good morning."
    assert reading.advice == "translation_en_to_fr"
    assert t5.read("summarization", SummarizationRequest(text="Long."), "").text == "summarize: Long."
    with pytest.raises(InputError) as error:
        t5.check_task("dialogue")
    assert error.value.parameters["tasks"] == ["translation", "summarization"]
    with pytest.raises(InputError, match=r"Romanian.*nearest: French, German"):
        t5.read("translation", translation(target="ro"), "")


def test_flan_is_told_in_words_what_it_has_no_prefix_for():
    config = T5Config(decoder_start_token_id=0, task_specific_params=T5_PARAMS, feed_forward_proj="gated-gelu")
    flan = family(config, tokenizer(chat_template=None))
    flan.check_task("dialogue")
    assert flan.read("translation", translation(), "in words").text == "translate English to German: Good morning."
    for fields in ({"target": "ro"}, {"formality": "formal"}, {"glossary": {"morning": "Frühe"}}):
        reading = flan.read("translation", translation(**fields), "in words")
        assert (reading.text, reading.instruction, reading.notes) == ("in words", True, ())


def test_fields_that_a_model_cannot_follow_are_named():
    bart = family(BartConfig(), tokenizer())
    request = SummarizationRequest(text="Long.", length="bullets", focus="money", language="fr")
    (note,) = bart.read("summarization", request, "").notes
    assert (note.code, note.parameters["fields"]) == ("seq2seq_unfollowed", ["length", "language", "focus"])
    assert bart.read("summarization", SummarizationRequest(text="Long."), "").notes == ()


def test_a_prefix_that_the_person_names_is_what_the_model_reads():
    model = family(T5Config(decoder_start_token_id=0), tokenizer(chat_template=None), prefix="tldr: ")
    assert model.read("summarization", SummarizationRequest(text="Long."), "").text == "tldr: Long."
    with pytest.raises(InputError):
        model.check_task("dialogue")


def test_a_direct_call_without_a_request_is_refused():
    with pytest.raises(InputError, match="reads no messages"):
        family(BartConfig(), tokenizer()).read("summarization", None, "")


def test_an_architecture_that_is_not_known_is_refused_with_those_that_are():
    with pytest.raises(InputError, match=r"whisper.*bart, bigbird_pegasus"):
        family(WhisperConfig(), tokenizer())
